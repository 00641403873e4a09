"""What is served of the lines of an export beside cost: resources, split cost, list prices, commitments."""
