"""ImageService of recsys.v1."""

from collections.abc import Callable
from concurrent.futures import Executor

from recsys.fields import require_sha256, require_text
from recsys.reasons import Reason
from recsys.runtime import Runtime
from recsys.service._call_context import CallContext
from recsys.service._pages import fitting, page_size, text_of, text_token
from recsys.service._threads import in_thread
from recsys.v1 import image_service_pb2 as pb2
from recsys.v1 import image_service_pb2_grpc
from recsys.wire.takedowns import blocked_to_wire, takedown_to_wire
from storage.records import Takedown
from storage.takedowns import MAX_REASON_CHARS

BY = "rpc"
_QUERY = ("ListBlockedImages",)


class ImageServicer(image_service_pb2_grpc.ImageServiceServicer):
    """Takes images down, and keeps them out.

    Args:
        runtime: whose storage is changed.
        threads: to block in.
        on_removed: called when a block is recorded, and after each takedown, finished or not, to
            drop what memory holds.
    """

    def __init__(
        self, runtime: Runtime, threads: Executor, *, on_removed: Callable[[], None]
    ) -> None:
        self._takedowns = runtime.takedowns
        self._eraser = runtime.image_eraser
        self._threads = threads
        self._on_removed = on_removed

    async def RemoveImage(
        self, request: pb2.RemoveImageRequest, context: CallContext
    ) -> pb2.RemoveImageResponse:
        """Remove an image from storage and from memory."""
        require_sha256("sha256", request.sha256)
        removed = await in_thread(self._threads, self._remove, request.sha256)
        return pb2.RemoveImageResponse(takedown=takedown_to_wire(removed))

    async def BlockImage(
        self, request: pb2.BlockImageRequest, context: CallContext
    ) -> pb2.BlockImageResponse:
        """Remove an image, and accept it nowhere again."""
        require_sha256("sha256", request.sha256)
        require_text(
            "reason", request.reason, at_most=MAX_REASON_CHARS, reason=Reason.INVALID_REQUEST
        )
        removed = await in_thread(self._threads, self._block, request.sha256, request.reason)
        return pb2.BlockImageResponse(takedown=takedown_to_wire(removed))

    async def UnblockImage(
        self, request: pb2.UnblockImageRequest, context: CallContext
    ) -> pb2.UnblockImageResponse:
        """Accept an image again."""
        require_sha256("sha256", request.sha256)
        image = await in_thread(self._threads, self._takedowns.unblock, request.sha256)
        return pb2.UnblockImageResponse(image=blocked_to_wire(image))

    async def ListBlockedImages(
        self, request: pb2.ListBlockedImagesRequest, context: CallContext
    ) -> pb2.ListBlockedImagesResponse:
        """List a page of the blocked images."""
        after = text_of(_QUERY, request.page_token)
        return await in_thread(self._threads, self._page, after, page_size(request.page_size))

    def _remove(self, sha256: str) -> Takedown:
        # In the thread and whatever happens: the caller may be gone when storage is done.
        try:
            return self._eraser.remove(sha256)
        finally:
            self._on_removed()

    def _block(self, sha256: str, reason: str) -> Takedown:
        try:
            # Twice, for the takedown reaches the last users long after the block.
            return self._eraser.block(sha256, by=BY, reason=reason, on_recorded=self._on_removed)
        finally:
            self._on_removed()

    def _page(self, after: str, size: int) -> pb2.ListBlockedImagesResponse:
        # One more than asked for tells whether there is a next page.
        rows = self._takedowns.list_blocked(after=after, limit=size + 1)
        images = fitting(map(blocked_to_wire, rows[:size]))
        token = text_token(_QUERY, images[-1].sha256) if len(images) < len(rows) else ""
        return pb2.ListBlockedImagesResponse(images=images, next_page_token=token)
