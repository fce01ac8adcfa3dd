"""What other users' choices tell of users who have made few."""
