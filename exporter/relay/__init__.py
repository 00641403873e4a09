"""The Telex relay: a process of its own between Alertmanager and Telex channels."""
