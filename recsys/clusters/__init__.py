"""Groups of users of near signatures, and what sets each apart."""
