"""Clusters of users as they were built: runs, members, and what sets each cluster apart."""
