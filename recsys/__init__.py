"""Learns each person's taste in generated images and ranks new images in that person's order."""
