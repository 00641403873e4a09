"""Cost by every dimension beside account and service: from Cost Explorer one dimension at a time, from an export all together."""
