"""A checkpoint adapted to one's own users: its preference tokens trained further, alone."""
