"""How much of what is stored a fit reads, at most."""

MAX_USERS = 2000
"""Users, drawn at random."""

MAX_PAIRS = 64
"""The newest pairs of each user; a limit, so that no user dominates."""
