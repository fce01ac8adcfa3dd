"""Search for neighbours: an index over the signatures in SQL."""
