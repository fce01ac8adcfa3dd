"""The one thread that the model runs on, and whether the model is well."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from recsys.engine.caches import SizedPrefix
from recsys.errors import RecsysError, Unavailable
from recsys.reasons import Reason
from recsys.scorer.borrowed import Borrowed

Computed = TypeVar("Computed")

STOPPING = "the model is stopping: call again later"


@runtime_checkable
class UserPrefix(SizedPrefix, Protocol):
    """A user as the scorer keeps it."""

    @property
    def num_references(self) -> int:
        """How many references were read."""

    @property
    def borrowed(self) -> Borrowed:
        """What of scores behind it is other users'."""


@runtime_checkable
class Scorer(Protocol):
    """What serving needs of `recsys.scorer.model.PreferenceScorer`.

    References, candidates and prefixes pass through unread, so that importing this does not load
    the model's libraries.
    """

    model_version: str

    def prefix(self, references: Sequence[Any]) -> Any:
        """Read one user's references once; returns a `UserPrefix`."""

    def score(self, prefix: Any, candidates: Sequence[Any]) -> Tensor:
        """Q of each candidate behind the prefix, shape (C,), each in [0, 1]."""


class ModelThread:
    """Runs a scorer's calls one after another off the event loop; counts failures in a row.

    A health check that only looks at the process stays green while the device is dead. Here the
    model is unwell after a run of failures, until a call succeeds, and while a call hangs.

    Args:
        scorer: the model.
        others: of other audiences, on the same weights; each scores for its own model version.
        max_failures: after this many failures in a row the model is unwell; at least 1.
        stalled_after_s: a call that runs longer than this makes it unwell; seconds, above 0.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        scorer: Scorer,
        others: Iterable[Scorer] = (),
        *,
        max_failures: int,
        stalled_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer = scorer
        self._scorers = {each.model_version: each for each in (*others, scorer)}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recsys-model")
        self._max_failures = max_failures
        self._stalled_after_s = stalled_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._num_failures_in_row = 0
        self._num_failures = 0
        self._busy_since: float | None = None

    @property
    def num_failures(self) -> int:
        """Calls that raised an unexpected error."""
        return self._num_failures

    @property
    def is_well(self) -> bool:
        """Whether the last calls did not all fail, and none hangs."""
        busy_since = self._busy_since
        stalled = busy_since is not None and self._clock() - busy_since > self._stalled_after_s
        return self._num_failures_in_row < self._max_failures and not stalled

    async def prefix(self, references: Sequence[Any], *, model_version: str) -> UserPrefix:
        """Read one user's references by the scorer of a model version.

        Raises:
            Exception: whatever the scorer raised.
        """
        return await self._run(self._scorers[model_version].prefix, references)

    async def score(
        self, prefix: UserPrefix, candidates: Sequence[Any], *, model_version: str
    ) -> tuple[float, ...]:
        """Score candidates behind a prefix that the same scorer has made.

        Raises:
            ArithmeticError: if the scores are not finite, or not one for each candidate.
            Exception: whatever the scorer raised.
        """
        scorer = self._scorers[model_version]
        return await self._run(self._checked_scores, scorer, prefix, candidates)

    async def probe(self, *, for_all: bool = False) -> None:
        """Run a forward pass on a synthetic reference and candidate; success makes the model well.

        Args:
            for_all: one for each audience, too.

        Raises:
            Exception: as `prefix` and `score`.
        """
        for scorer in self._scorers.values() if for_all else [self._scorer]:
            await self._run(self._score_synthetic, scorer)

    def compute(self, function: Callable[..., Computed], *args: Any) -> Computed:
        """Run another computation of the model, and wait: not for the event loop's own thread.

        Raises:
            Unavailable: if the thread is closed before it runs.
            Exception: whatever the function raised.
        """
        try:
            running = self._pool.submit(self._watched, function, *args)
        except RuntimeError as error:  # of the pool alone: what runs later raises at the result
            raise Unavailable(STOPPING, reason=Reason.DRAINING) from error
        try:
            return running.result()
        except CancelledError as error:
            raise Unavailable(STOPPING, reason=Reason.DRAINING) from error

    def close(self) -> None:
        """Take no more calls; the one that runs ends by itself, for a thread cannot be stopped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[..., Computed], *args: Any) -> Computed:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._watched, function, *args)

    def _watched(self, function: Callable[..., Computed], *args: Any) -> Computed:
        # On the model thread: so the time counts from when the call runs, not from when it waits.
        self._busy_since = self._clock()
        try:
            result = function(*args)
        except RecsysError:
            raise  # the caller's input was refused on purpose: no sign of a sick device
        except BaseException:
            with self._lock:
                self._num_failures += 1
                self._num_failures_in_row += 1
            raise
        else:
            self._num_failures_in_row = 0
            return result
        finally:
            self._busy_since = None

    def _checked_scores(
        self, scorer: Scorer, prefix: UserPrefix, candidates: Sequence[Any]
    ) -> tuple[float, ...]:
        # On the model thread, so that a model that answers NaN counts as failing.
        scores = scorer.score(prefix, candidates)
        if scores.shape != (len(candidates),) or not bool(torch.isfinite(scores).all()):
            raise ArithmeticError(
                f"the model must give {len(candidates)} finite scores, got {scores.tolist()}"
            )
        return tuple(scores.tolist())

    def _score_synthetic(self, scorer: Scorer) -> None:
        from recsys.scorer.model import CandidateImage, Reference  # loads the model's libraries

        ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
        reference = Reference(liked=ramp, disliked=1 - ramp, prompt="a probe")
        prefix = scorer.prefix([reference])
        self._checked_scores(scorer, prefix, [CandidateImage(image=ramp.mT, prompt="a probe")])
