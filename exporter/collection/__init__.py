"""What happens while it runs: discovery, schedule, runs, views, store."""
