"""Instants: protobuf timestamps <-> datetime in UTC."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp_of(instant: datetime | None) -> Timestamp | None:
    """Write an instant; none stays none.

    Args:
        instant: with a time zone.
    """
    if instant is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


def instant_of(timestamp: Timestamp) -> datetime:
    """Read an instant, in UTC.

    Raises:
        ValueError: if it is not of the years 1 to 9999.
    """
    return timestamp.ToDatetime(UTC)
