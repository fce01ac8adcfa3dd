"""Images: protobuf <-> bytes or the SHA-256 of a stored image."""

from recsys.recording import ImageSource
from recsys.v1 import image_pb2


def image_to_wire(source: ImageSource) -> image_pb2.Image:
    """Write an image."""
    if isinstance(source, bytes):
        return image_pb2.Image(data=source)
    return image_pb2.Image(sha256=source)


def image_from_wire(image: image_pb2.Image) -> ImageSource | None:
    """Read an image; None if neither source is set."""
    match image.WhichOneof("source"):
        case "data":
            return image.data
        case "sha256":
            return image.sha256
    return None
