"""One model and many requests: a bounded queue, one pass a request, warm prefixes, health."""
