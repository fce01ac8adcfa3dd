"""The commands of `recsys`, one module per noun; each is imported when it is called."""
