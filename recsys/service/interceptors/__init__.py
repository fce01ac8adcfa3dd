"""What surrounds every call of recsys.v1, one module each; `app` puts them in order."""
