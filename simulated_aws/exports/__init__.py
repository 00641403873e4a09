"""AWS Data Exports of the simulated organisation: what defines them, what writes them, and the bucket they lie in."""
