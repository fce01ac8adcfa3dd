"""Files of choices read into storage, one module per format."""
