"""Users of near signatures: an index over SQL, and the search of it."""
