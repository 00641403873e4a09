"""Words that everyone uses; imports nothing of ours."""
