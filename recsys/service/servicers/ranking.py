"""RankingService of recsys.v1."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from recsys.coldstart.first_questions import checked_num_pairs, learned_first_questions
from recsys.fields import require_request_id, require_user_id
from recsys.runtime import Runtime
from recsys.service._call_context import CallContext
from recsys.service._served import Served
from recsys.service._threads import in_thread
from recsys.service.metrics import ServiceMetrics
from recsys.v1 import ranking_service_pb2 as pb2
from recsys.v1 import ranking_service_pb2_grpc
from recsys.wire.ranking import candidates_from_wire, first_questions_to_wire, ranking_to_wire
from storage.errors import StorageUnavailable

_NOTHING_IS_LEFT = (
    "the database does not answer or is busy, and no ranking can do without the user's history:"
    " show the default order, and call again later"
)


class RankingServicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """Ranks candidates, and suggests a new user's first questions.

    Args:
        runtime: whose storage holds what was learned for new users.
        served: what to rank with.
        metrics: counts rankings.
        threads: to block in.
        clock: the ranker's.
    """

    def __init__(
        self,
        runtime: Runtime,
        served: Served,
        *,
        metrics: ServiceMetrics,
        threads: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served = served
        self._metrics = metrics
        self._cold_starts = runtime.cold_starts
        self._store = runtime.store
        self._consents = runtime.consents
        self._sharing_rules = runtime.settings.sharing_rules
        self._threads = threads
        self._clock = clock

    async def RankCandidates(
        self, request: pb2.RankCandidatesRequest, context: CallContext
    ) -> pb2.RankCandidatesResponse:
        """Order candidates for a user, within the caller's deadline."""
        require_request_id(request.request_id)
        time_left_s = context.time_remaining()
        with _naming_what_is_left():
            ranking = await self._served.model.ranker.rank(
                request.user_id,
                candidates_from_wire(request),
                audience=request.audience,
                deadline=None if time_left_s is None else self._clock() + time_left_s,
            )
        self._metrics.observe_ranking(ranking, request.audience)
        return ranking_to_wire(ranking)

    async def SuggestOnboarding(
        self, request: pb2.SuggestOnboardingRequest, context: CallContext
    ) -> pb2.SuggestOnboardingResponse:
        """Return the first questions to a new user, unless their answers would change nothing."""
        num_pairs = checked_num_pairs(request.num_pairs)
        if request.user_id:
            require_user_id(request.user_id)
            await in_thread(self._threads, self._check_answers_count, request.user_id)
        version = self._served.model.engine.version_of(request.audience)
        questions = await in_thread(
            self._threads,
            learned_first_questions,
            self._cold_starts,
            version,
            self._sharing_rules,
        )
        return first_questions_to_wire(questions, num_pairs=num_pairs)

    def _check_answers_count(self, user_id: str) -> None:
        self._store.check_storable(user_id)
        self._consents.check(user_id)


@contextmanager
def _naming_what_is_left() -> Iterator[None]:
    """Say of a database that does not answer what that means to whoever waits for a ranking."""
    try:
        yield
    except StorageUnavailable as error:
        raise StorageUnavailable(_NOTHING_IS_LEFT) from error
