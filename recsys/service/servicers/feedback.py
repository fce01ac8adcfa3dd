"""FeedbackService of recsys.v1."""

from concurrent.futures import Executor

from recsys.recording import NewChoice, check_new_choice, naming_images
from recsys.runtime import Runtime
from recsys.service._call_context import CallContext
from recsys.service._threads import in_thread
from recsys.v1 import feedback_service_pb2 as pb2
from recsys.v1 import feedback_service_pb2_grpc
from recsys.wire.choices import appended_to_wire, new_choice_from_wire
from storage.records import Appended

SOURCE = "rpc"


class FeedbackServicer(feedback_service_pb2_grpc.FeedbackServiceServicer):
    """Records choices as they are made.

    Args:
        runtime: whose storage is written to, and whose limits hold for images; a choice passes
            over at most as many as a request may have candidates.
        threads: to block in.
    """

    def __init__(self, runtime: Runtime, threads: Executor) -> None:
        self._store = runtime.store
        self._inspect = runtime.inspect_image
        self._max_passed_over = runtime.settings.max_candidates
        self._threads = threads

    async def RecordChoice(
        self, request: pb2.RecordChoiceRequest, context: CallContext
    ) -> pb2.RecordChoiceResponse:
        """Store a choice; a call that is cancelled while storage works may be stored."""
        new = new_choice_from_wire(request)
        return appended_to_wire(await in_thread(self._threads, self._record, new))

    def _record(self, new: NewChoice) -> Appended:
        choice, images = check_new_choice(
            new, self._inspect, source=SOURCE, max_passed_over=self._max_passed_over
        )
        with naming_images(choice, images):
            return self._store.append(choice, images, shareable=new.shareable)
