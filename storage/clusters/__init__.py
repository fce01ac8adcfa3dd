"""Runs of clusters, their members, and what is characteristic of each cluster."""
