"""Judging: questions, figures with intervals, and the report."""
