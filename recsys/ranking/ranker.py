"""The use case: a user and candidates -> the candidates in that user's order, and why."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

from recsys.engine.queue import Scored
from recsys.errors import DeadlinePassed, Overloaded
from recsys.history import (
    HistoryReader,
    Personalizes,
    ReferencePair,
    read_history,
    references_of,
)
from recsys.ranking.candidates import (
    Candidate,
    CandidateStatus,
    Personalization,
    RankedCandidate,
    Ranking,
    check_request,
)
from recsys.ranking.loader import ImageLoader
from recsys.reasons import Reason
from recsys.scorer.model import CandidateImage
from storage.records import History

NOBODY = ""
"""The user key of the prefix without references; no user id is empty."""

FindBlocked = Callable[[Iterable[str]], Collection[str]]
"""Tells which of some images were taken down, by SHA-256; blocks."""

_PAST_REVISIONS = 2**63


@runtime_checkable
class Scoring(Protocol):
    """What ranking needs of `recsys.engine.engine.ScoringEngine`."""

    def version_of(self, audience: str) -> str:
        """The model version that scores for an audience; empty: the model's own."""

    @property
    def expected_wait_s(self) -> float:
        """How long a request that comes now is likely to wait for the model, seconds."""

    @property
    def num_forgotten(self) -> int:
        """Grows with every erasure."""

    async def score(
        self,
        user_key: str,
        revision: int,
        pairs: Sequence[ReferencePair],
        candidates: Sequence[Any],
        *,
        model_version: str | None = None,
        deadline: float | None = None,
        since: int | None = None,
    ) -> Scored:
        """Score candidates for a user."""


class Ranker:
    """Ranks candidates for users; storage and decoding run in the loader's threads.

    Args:
        engine: scores; started.
        histories: what users chose.
        images: reads and decodes candidates.
        personalizes: whether a user lets their history be read.
        num_references: how many references the model was trained with; at least 0.
        max_candidates: in one request; at least 1.
        max_candidates_at_once: in all requests that are being ranked, for decoded images are
            large; at least `max_candidates`. None: four full requests.
        blocked_among: candidates that it names are not scored; by default none.
        clock: the engine's: seconds that never go back; deadlines are instants on it.

    Raises:
        ValueError: if fewer candidates fit at once than in one request.
    """

    def __init__(
        self,
        engine: Scoring,
        histories: HistoryReader,
        images: ImageLoader,
        *,
        personalizes: Personalizes,
        num_references: int = 8,
        max_candidates: int = 256,
        max_candidates_at_once: int | None = None,
        blocked_among: FindBlocked = lambda _: (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_candidates_at_once is None:
            max_candidates_at_once = 4 * max_candidates
        if not 1 <= max_candidates <= max_candidates_at_once:
            raise ValueError(
                "1 <= max_candidates <= max_candidates_at_once must hold,"
                f" got {max_candidates} and {max_candidates_at_once}"
            )
        self._engine = engine
        self._histories = histories
        self._images = images
        self._personalizes = personalizes
        self._num_references = num_references
        self._max_candidates = max_candidates
        self._max_candidates_at_once = max_candidates_at_once
        self._blocked_among = blocked_among
        self._clock = clock
        self._num_candidates = 0

    async def rank(
        self,
        user_id: str,
        candidates: Sequence[Candidate],
        *,
        audience: str = "",
        deadline: float | None = None,
    ) -> Ranking:
        """Order candidates by how much the user would like them.

        A bad candidate gets a status of its own and the rest are ranked. An unknown user is
        ranked without a history (COLD_START), and so is one who does not want to be personalised,
        which `is_opted_out` tells. A reference whose image cannot be read is
        left out and shows in `num_references`.

        Args:
            user_id: 1 to 256 characters, no control characters; need not be known.
            candidates: 1 to `max_candidates`, ids unique.
            audience: by whose P_v; empty: the model's own.
            deadline: instant on the clock, looked at between the steps; None: any time.

        Raises:
            InvalidRequest: if the request breaks a rule; names the field.
            Overloaded: if too many candidates are being ranked, or the engine's queue is too long.
            DeadlinePassed: if the deadline passes before the answer.
            Unavailable: if the engine is not ready.
        """
        check_request(user_id, candidates, max_candidates=self._max_candidates)
        model_version = self._engine.version_of(audience)
        with self._places(len(candidates)):
            since = self._engine.num_forgotten  # before anything of the user is read
            self._check_time(deadline)
            history = await self._images.run(self._history, user_id)
            pairs = () if history is None else references_of(history, self._num_references)
            ranking = partial(
                self._ranking,
                user_id,
                candidates,
                model_version=model_version,
                is_opted_out=history is None,
            )
            seen = await self._see_all(candidates, deadline)
            images = [each for each in seen if isinstance(each, CandidateImage)]
            if not images:
                return ranking(seen, Scored((), len(pairs)))
            # Users without references share one prefix, which holds nothing of a person.
            user_key, revision = NOBODY, 0
            if history is not None and pairs:
                user_key, revision = user_id, _number_of(history)
            scored = await self._engine.score(
                user_key,
                revision,
                pairs,
                images,
                model_version=model_version,
                deadline=deadline,
                since=since,
            )
            return ranking(seen, scored)

    def _history(self, user_id: str) -> History | None:
        """Read it; None, and nothing is read, if the user does not want that."""
        if not self._personalizes(user_id):
            return None
        return read_history(self._histories, user_id, self._num_references)

    @contextmanager
    def _places(self, num_candidates: int) -> Iterator[None]:
        if self._num_candidates + num_candidates > self._max_candidates_at_once:
            raise Overloaded(
                f"at most {self._max_candidates_at_once} candidates are ranked at the same time,"
                f" and {self._num_candidates} are: call again later",
                retry_after_s=self._engine.expected_wait_s or 1.0,
            )
        self._num_candidates += num_candidates
        try:
            yield
        finally:
            self._num_candidates -= num_candidates

    def _check_time(self, deadline: float | None) -> None:
        if deadline is not None and self._clock() >= deadline:
            raise DeadlinePassed("the deadline passed while the candidates were being read")

    async def _see_all(
        self, candidates: Sequence[Candidate], deadline: float | None
    ) -> list[CandidateImage | RankedCandidate]:
        """Decode each candidate, or say why it cannot be ranked."""
        blocked = await self._images.run(self._find_blocked, candidates)
        jobs = [
            asyncio.ensure_future(
                self._images.run(self._see, candidate, candidate.id in blocked, deadline)
            )
            for candidate in candidates
        ]
        try:
            return await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()  # those not begun yet, when one has raised

    def _find_blocked(self, candidates: Sequence[Candidate]) -> set[str]:
        """Ids of the candidates whose image was taken down."""
        digests: dict[str, str] = {}

        def computed() -> Iterator[str]:
            for candidate in candidates:
                digests[candidate.id] = candidate.digest
                yield digests[candidate.id]

        blocked = self._blocked_among(computed())
        return {candidate_id for candidate_id, digest in digests.items() if digest in blocked}

    def _see(
        self, candidate: Candidate, is_blocked: bool, deadline: float | None
    ) -> CandidateImage | RankedCandidate:
        self._check_time(deadline)
        if is_blocked:
            message = "the image was taken down and is accepted nowhere: show it to nobody"
            status, reason = CandidateStatus.BLOCKED, Reason.IMAGE_BLOCKED
            return RankedCandidate(candidate.id, None, None, status, message, reason)
        return self._images.read_candidate(candidate)

    def _ranking(
        self,
        user_id: str,
        candidates: Sequence[Candidate],
        seen: Sequence[CandidateImage | RankedCandidate],
        scored: Scored,
        *,
        model_version: str,
        is_opted_out: bool,
    ) -> Ranking:
        failed = [each for each in seen if isinstance(each, RankedCandidate)]
        is_seen = (isinstance(each, CandidateImage) for each in seen)
        ids = [each.id for each, is_good in zip(candidates, is_seen, strict=True) if is_good]
        return Ranking(
            user_id=user_id,
            model_version=model_version,
            personalization=self._personalization(scored.num_references),
            num_references=scored.num_references,
            candidates=(*order_candidates(ids, scored.scores), *failed),
            borrowed=scored.borrowed,
            is_opted_out=is_opted_out,
        )

    def _personalization(self, num_references: int) -> Personalization:
        if num_references == 0:
            return Personalization.COLD_START
        is_full = num_references >= self._num_references
        return Personalization.WARM if is_full else Personalization.PARTIAL


def _number_of(history: History) -> int:
    return history_number(history.choices[-1].choice_id, history.revision)


def history_number(newest_choice_id: int, revision: int) -> int:
    """Number a history that is not empty: no other one of its user ever has the same.

    A choice's id is never given twice, while revisions begin anew when an erased user returns. But
    an image may be taken out of older choices, and only the revision tells that.
    """
    return newest_choice_id * _PAST_REVISIONS + revision


def newest_choice_of(number: int) -> int:
    """Return the id of the newest choice of the history that `history_number` numbered."""
    return number // _PAST_REVISIONS


def order_candidates(ids: Sequence[str], scores: Sequence[float]) -> list[RankedCandidate]:
    """Order ids by score, highest first; equal scores in the given order.

    Raises:
        ValueError: if a score is not a number, which has no place in any order, or the two
            differ in length.
    """
    if any(math.isnan(score) for score in scores):
        raise ValueError(f"scores must be numbers, got {list(scores)}: the model is broken")
    best_first = sorted(zip(ids, scores, strict=True), key=lambda pair: -pair[1])
    return [
        RankedCandidate(each_id, score, rank, CandidateStatus.RANKED)
        for rank, (each_id, score) in enumerate(best_first, start=1)
    ]
