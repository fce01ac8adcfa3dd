"""What cold start learned: populations and first questions."""
