"""What other people's choices tell of users who have made few."""
