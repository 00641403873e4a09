"""What was paid for: the SQLite file and what it holds."""
