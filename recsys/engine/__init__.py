"""One model and many requests: a bounded queue, batches, warm prefixes, health."""
