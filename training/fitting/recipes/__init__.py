"""Complete named configurations of training runs, one module a model."""
