"""The part of the client that calls ImageService."""

from collections.abc import Iterator
from typing import Any

from recsys._retrying_client import SendRequest
from recsys.v1 import image_service_pb2 as pb2
from recsys.wire.takedowns import blocked_from_wire, takedown_from_wire
from storage.records import BlockedImage, Takedown


class ImageCalls:
    """Takes images down, for administrators; `recsys.client.RecsysClient.images`.

    Args:
        stub: of the service.
        call: sends a request, by default within the client's timeout; raises as the client does.
    """

    def __init__(self, stub: Any, call: SendRequest) -> None:
        self._stub = stub
        self._call = call

    def remove(self, sha256: str, *, timeout_s: float | None = None) -> Takedown:
        """Remove an image from choices, first questions, clusters and storage.

        Args:
            sha256: of its encoded bytes.
            timeout_s: None for the client's. What was begun goes on, and the same call does what
                is left.
        """
        response = self._call(
            self._stub.RemoveImage, pb2.RemoveImageRequest, timeout_s, sha256=sha256
        )
        return takedown_from_wire(response.takedown)

    def block(self, sha256: str, *, reason: str = "", timeout_s: float | None = None) -> Takedown:
        """Remove an image that may be stored, and have it accepted nowhere again.

        Args:
            sha256: of its encoded bytes.
            reason: why, at most 1,000 characters.
            timeout_s: as of `remove`.
        """
        response = self._call(
            self._stub.BlockImage, pb2.BlockImageRequest, timeout_s, sha256=sha256, reason=reason
        )
        return takedown_from_wire(response.takedown)

    def unblock(self, sha256: str, *, timeout_s: float | None = None) -> BlockedImage:
        """Have a blocked image accepted again; return what was said of it.

        Where `is_unfinished`, some of it was never removed, and is in use again before `remove`.
        """
        response = self._call(
            self._stub.UnblockImage, pb2.UnblockImageRequest, timeout_s, sha256=sha256
        )
        return blocked_from_wire(response.image)

    def list_blocked(
        self, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[BlockedImage]:
        """Yield the blocked images by SHA-256; asks for the next page when it is needed.

        Args:
            page_size: images per call; 0 for the server's default.
            timeout_s: for each page; None for the client's.
        """
        token = ""
        while True:
            page = self._call(
                self._stub.ListBlockedImages,
                pb2.ListBlockedImagesRequest,
                timeout_s,
                page_size=page_size,
                page_token=token,
            )
            yield from map(blocked_from_wire, page.images)
            token = page.next_page_token
            if not token:
                return
