"""Erasing a user from all that this machine reaches, and telling what still holds them."""
