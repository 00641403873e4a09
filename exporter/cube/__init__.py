"""Cost by every dimension beside account and service: one at a time from Cost Explorer, all together from an export."""
