"""Rankings, choices and users of recsys.v1: each method reads its request and calls a use case.

Whatever raises is told to the caller by the interceptor; nothing here knows a status code.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from recsys.coldstart.suggestions import checked_num_pairs, learned_onboarding
from recsys.engine.engine import ScoringEngine
from recsys.errors import Unavailable
from recsys.fields import check_request_id, check_user_id
from recsys.ranking.ranker import Ranker
from recsys.service.call_context import CallContext
from recsys.service.metrics import ServiceMetrics
from recsys.service.neighbourhood import Neighbourhood
from recsys.service.pages import after_of, page_size, token_of
from recsys.service.recording import Recorder
from recsys.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    ranking_service_pb2,
    ranking_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)
from recsys.wire.histories import (
    appended_to_wire,
    choice_to_wire,
    erased_to_wire,
    new_choice_from_wire,
    user_to_wire,
)
from recsys.wire.ranking import candidates_from_wire, onboarding_to_wire, ranking_to_wire
from storage.coldstart.populations import ColdStartStore
from storage.histories import HistoryStore

Result = TypeVar("Result")

MAX_PAGE_BYTES = 2**20
"""A page ends past this many bytes, for clients take messages of 4 MiB and no more by default."""


@dataclass(slots=True)
class Model:
    """What there is only once the model is loaded; admission opens after that.

    The neighbourhood is None for good where the checkpoint ships nothing to read signatures by.
    """

    engine: ScoringEngine | None = None
    ranker: Ranker | None = None
    neighbourhood: Neighbourhood | None = None


class RankingServicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """Ranks.

    Args:
        model: what to rank with.
        metrics: counts rankings.
        cold_starts: what was learned for new users.
        threads: to block in.
        clock: the ranker's.
    """

    def __init__(
        self,
        model: Model,
        metrics: ServiceMetrics,
        *,
        cold_starts: ColdStartStore,
        threads: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._cold_starts = cold_starts
        self._threads = threads
        self._clock = clock

    async def RankCandidates(
        self, request: ranking_service_pb2.RankCandidatesRequest, context: CallContext
    ) -> ranking_service_pb2.RankCandidatesResponse:
        """Order candidates for a user, within the caller's deadline."""
        if self._model.ranker is None:
            raise Unavailable("the model is loading: call again later")
        check_request_id(request.request_id)
        time_left_s = context.time_remaining()
        ranking = await self._model.ranker.rank(
            request.user_id,
            candidates_from_wire(request),
            deadline=None if time_left_s is None else self._clock() + time_left_s,
        )
        self._metrics.observe_ranking(ranking)
        return ranking_to_wire(ranking)

    async def SuggestOnboarding(
        self, request: ranking_service_pb2.SuggestOnboardingRequest, context: CallContext
    ) -> ranking_service_pb2.SuggestOnboardingResponse:
        """Tell which pairs to show a new user first."""
        num_pairs = checked_num_pairs(request.num_pairs)
        if self._model.engine is None:
            raise Unavailable("the model is loading: call again later")
        onboarding = await _in_thread(
            self._threads, learned_onboarding, self._cold_starts, self._model.engine.model_version
        )
        return onboarding_to_wire(onboarding, num_pairs=num_pairs)


class FeedbackServicer(feedback_service_pb2_grpc.FeedbackServiceServicer):
    """Records.

    Args:
        recorder: stores.
        threads: to block in.
    """

    def __init__(self, recorder: Recorder, threads: Executor) -> None:
        self._recorder = recorder
        self._threads = threads

    async def RecordChoice(
        self, request: feedback_service_pb2.RecordChoiceRequest, context: CallContext
    ) -> feedback_service_pb2.RecordChoiceResponse:
        """Store a choice; a call that is cancelled while storage works may be stored."""
        new = new_choice_from_wire(request)
        return appended_to_wire(await _in_thread(self._threads, self._recorder.record, new))


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Tells what is known of a user, and erases it.

    Args:
        store: of choices.
        model: forgets who is erased.
        threads: to block in.
    """

    def __init__(self, store: HistoryStore, model: Model, threads: Executor) -> None:
        self._store = store
        self._model = model
        self._threads = threads

    async def GetUser(
        self, request: user_service_pb2.GetUserRequest, context: CallContext
    ) -> user_service_pb2.GetUserResponse:
        """Count a user's history."""
        check_user_id(request.user_id)
        user = await _in_thread(self._threads, self._store.user, request.user_id)
        return user_service_pb2.GetUserResponse(user=user_to_wire(user))

    async def ListChoices(
        self, request: user_service_pb2.ListChoicesRequest, context: CallContext
    ) -> user_service_pb2.ListChoicesResponse:
        """List a page of a user's choices."""
        check_user_id(request.user_id)
        after = after_of(request.user_id, request.page_token)
        size = page_size(request.page_size)
        return await _in_thread(self._threads, self._page, request.user_id, after, size)

    async def EraseUser(
        self, request: user_service_pb2.EraseUserRequest, context: CallContext
    ) -> user_service_pb2.EraseUserResponse:
        """Remove a user from storage and from memory."""
        check_user_id(request.user_id)
        return erased_to_wire(await _in_thread(self._threads, self._erase, request.user_id))

    def _page(self, user_id: str, after: int, size: int) -> user_service_pb2.ListChoicesResponse:
        # One more than asked for tells whether there is a next page.
        found = self._store.list_choices(user_id, after_choice_id=after, limit=size + 1)
        response = user_service_pb2.ListChoicesResponse()
        num_bytes = 0
        for stored in found[:size]:
            message = choice_to_wire(stored)
            num_bytes += message.ByteSize()
            if num_bytes > MAX_PAGE_BYTES and response.choices:
                break
            response.choices.append(message)
        if len(response.choices) < len(found):
            response.next_page_token = token_of(user_id, response.choices[-1].choice_id)
        return response

    def _erase(self, user_id: str) -> Any:
        # In the thread and whatever happens: the caller may be gone when storage is done, and
        # memory must not outlive it.
        try:
            return self._store.erase(user_id)
        finally:
            if self._model.engine is not None:
                self._model.engine.forget(user_id)


async def _in_thread(threads: Executor, function: Callable[..., Result], *args: Any) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *args)
