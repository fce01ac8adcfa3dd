"""The preference scorer: a vision-language model with preference tokens before its input."""
