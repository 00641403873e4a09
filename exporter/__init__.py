"""Prometheus exporter for AWS cost, usage and resource inventory across an organization."""
