"""The RPCs, one module for each service: read a request, call a use case, write the response.

They raise the package's own errors; the interceptors turn those into status codes.
"""
