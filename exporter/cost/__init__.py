"""Cost: its tables, sums and plans."""
