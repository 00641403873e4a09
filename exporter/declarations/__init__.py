"""What a collector or view declares, and what it is given."""
