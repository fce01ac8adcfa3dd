"""One vector a user: how it is read, kept up to date and stored with a checkpoint."""
