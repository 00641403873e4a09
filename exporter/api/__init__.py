"""Answers as JSON for commands, the relay and scripts."""
