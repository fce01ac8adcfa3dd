"""Learning: losses, the training loop, the two stages, recipes, signatures."""
