"""Ways of adapting a checkpoint to a population beside its preference tokens, measured."""
