"""Accounts: discovery, groups, thresholds, shards."""
