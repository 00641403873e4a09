"""The relay: a separate process between Alertmanager and chat channels."""
