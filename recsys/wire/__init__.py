"""Protobuf messages <-> the records that everything else speaks; shared by service and client."""
