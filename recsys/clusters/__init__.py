"""Clusters of users with near signatures, and what is characteristic of each."""
