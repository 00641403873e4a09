"""Classes of everyday cost series, a file for each subject; a file's functions are found by being there."""
