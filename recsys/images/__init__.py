"""Encoded bytes of strangers become what the model reads."""
