"""The RPCs: each method reads its request, calls a use case and writes its response."""
