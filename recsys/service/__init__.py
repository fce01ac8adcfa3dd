"""The gRPC service around the ranking use case."""
