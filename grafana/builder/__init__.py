"""What the dashboards are made of: their visual language, their PromQL idioms, one file a dashboard."""
