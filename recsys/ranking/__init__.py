"""A user and candidates become the candidates in that user's order."""
