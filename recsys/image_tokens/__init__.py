"""Image tokens kept by the SHA-256 of the image that they were made of, in memory and on disk."""
