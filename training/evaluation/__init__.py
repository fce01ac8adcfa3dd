"""Judging: questions, predictors, figures with intervals, and the report."""
