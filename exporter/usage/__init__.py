"""Usage: metrics, counters and samples."""
