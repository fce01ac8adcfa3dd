"""Images that were taken down: protobuf <-> the records that everything else speaks."""

from dataclasses import asdict

from recsys.v1 import image_service_pb2 as pb2
from recsys.wire._instants import instant_of, timestamp_of
from storage.records import BlockedImage, Takedown


def takedown_to_wire(takedown: Takedown) -> pb2.Takedown:
    """Write how much went."""
    return pb2.Takedown(**asdict(takedown))


def takedown_from_wire(message: pb2.Takedown) -> Takedown:
    """Read how much went."""
    return Takedown(
        num_choices=message.num_choices,
        num_shortened=message.num_shortened,
        num_images=message.num_images,
        num_bytes=message.num_bytes,
        rewritten_exports=tuple(message.rewritten_exports),
        remnants=tuple(message.remnants),
    )


def blocked_to_wire(image: BlockedImage) -> pb2.BlockedImage:
    """Write a blocked image."""
    return pb2.BlockedImage(
        sha256=image.sha256,
        blocked_at=timestamp_of(image.blocked_at),
        blocked_by=image.blocked_by,
        reason=image.reason,
        is_unfinished=image.is_unfinished,
    )


def blocked_from_wire(message: pb2.BlockedImage) -> BlockedImage:
    """Read a blocked image."""
    return BlockedImage(
        sha256=message.sha256,
        blocked_at=instant_of(message.blocked_at),
        blocked_by=message.blocked_by,
        reason=message.reason,
        is_unfinished=message.is_unfinished,
    )
