"""Generated from proto/recsys/v1; never edited by hand."""
