"""AWS Data Exports: read, and folded into the months of the cube."""
