"""The commands of the training floor."""
