"""Amazon Athena as the engine that sums the lines of an export: its queries, what they cost, and their results."""
