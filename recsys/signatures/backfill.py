"""The use case: bring every missing or stale signature up to date, a chunk of users at a time.

What is up to date is told by the stored signatures, so a run that was ended at any instant goes on
where it was: at most the chunk it was at is computed again. Two runs at once do some work twice and
store nothing wrong, for no signature gives way to an older one, and none is stored that was read
before something was removed from its user's choices.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Protocol, runtime_checkable
from uuid import uuid4

from recsys.history import SIGNATURE_REFERENCES, HistoryReader, Personalizes
from recsys.signatures.chunk import ChunkResult, compute_chunk
from recsys.signatures.definition import SignatureModel
from recsys.signatures.inputs import ReadReferences, SignatureInput, read_input
from storage.backfill_ledger import FAILURES, BackfillState, LedgerEntry, final_states
from storage.errors import PersonalizationOff, UnknownUser
from storage.records import Signature

PAGE = 1000
"""Users asked for at once."""


@runtime_checkable
class StaleSignatures(Protocol):
    """What is needed of `storage.signatures.SignatureStore`."""

    def stale(
        self, model_version: str, *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, int]]:
        """Return users whose vector is missing or old, with their revisions, by id."""

    def put_many(self, signatures: Sequence[Signature]) -> list[str]:
        """Store vectors; return the users left out, for they, or choices of theirs, are gone."""

    def get(self, user_id: str, model_version: str) -> Signature | None:
        """Return a user's vector, if there is one."""


@runtime_checkable
class Ledger(Protocol):
    """What is needed of `storage.backfill_ledger.BackfillLedger`."""

    def entries(self, model_version: str, user_ids: Sequence[str]) -> dict[str, LedgerEntry]:
        """Return how the last try for each of these users ended."""

    def record(self, entries: Sequence[LedgerEntry]) -> None:
        """Store how tries ended; who is skipped has no signature afterwards."""

    def still_stored(self, choice_ids: Sequence[int]) -> set[int]:
        """Return those of these choices that are stored now."""


@dataclass(frozen=True, slots=True)
class BackfillSummary:
    """What a run did.

    Attributes:
        job: the run's name in the ledger.
        model_version: of the signatures.
        num_done: signatures brought up to date.
        num_partly_read: of them, made without references whose images cannot be read.
        num_skipped: users whose history holds no pair.
        num_failed: users whose signature could not be computed.
        num_erased: users who were erased, lost choices, or no longer wanted one, while it was
            computed.
        num_skipped_before: users without a pair as an earlier run had found, not tried again.
        num_failed_before: users who failed in an earlier run, not tried again.
        seconds: how long it took.
    """

    job: str
    model_version: str
    num_done: int = 0
    num_partly_read: int = 0
    num_skipped: int = 0
    num_failed: int = 0
    num_erased: int = 0
    num_skipped_before: int = 0
    num_failed_before: int = 0
    seconds: float = 0.0

    @property
    def num_tried(self) -> int:
        """Users who were not left as they were."""
        return self.num_done + self.num_skipped + self.num_failed + self.num_erased

    @property
    def users_per_second(self) -> float:
        """Users tried in a second; 0 when nobody was."""
        return self.num_tried / self.seconds if self.num_tried and self.seconds > 0 else 0.0

    def __add__(self, other: "BackfillSummary") -> "BackfillSummary":
        """The counts of both; the rest is this one's."""
        return replace(
            self, **{name: getattr(self, name) + getattr(other, name) for name in _ADDED}
        )


_ADDED = tuple(each.name for each in fields(BackfillSummary) if each.name.startswith("num_"))


@dataclass(frozen=True)
class Backfill:
    """A run that is ready to start.

    Attributes:
        histories: what users chose.
        signatures: what is to be brought up to date.
        ledger: who was skipped or failed before, and is now.
        model: computes a vector from decoded references.
        references: decodes a user's pairs.
        num_references: how many a signature reads; at least 1.
        chunk_size: users computed before anything is stored; at least 1. A run that is killed
            loses at most so many.
        batch_size: users whom the model reads together; at least 1.
        retry_failed: try those again who failed and have chosen nothing since. Those whom an
            outage made fail are tried again in any case.
        job: the run's name in the ledger.
        personalizes: whether a user lets a signature be read.
    """

    histories: HistoryReader
    signatures: StaleSignatures
    ledger: Ledger
    model: SignatureModel
    references: ReadReferences
    num_references: int = SIGNATURE_REFERENCES
    chunk_size: int = 64
    batch_size: int = 1
    retry_failed: bool = False
    job: str = field(default_factory=lambda: uuid4().hex)
    _: KW_ONLY
    personalizes: Personalizes

    def __post_init__(self) -> None:
        if min(self.chunk_size, self.num_references, self.batch_size) < 1:
            raise ValueError(
                "chunk_size, num_references and batch_size must be at least 1, got"
                f" {self.chunk_size}, {self.num_references} and {self.batch_size}"
            )

    def run(self, progress: Callable[[int], None] = lambda _: None) -> BackfillSummary:
        """Bring everybody's signature up to date, in the order of user ids.

        But not of those who do not want to be personalised: `StaleSignatures` does not name them.

        Args:
            progress: called after each chunk with how many users were tried so far.

        Raises:
            Unavailable: if user after user fails, as when the store of images does not answer;
                what was stored before stands.
        """
        began = time.monotonic()
        summary = self._nothing_yet()
        for page in self._pages():
            settled = self._settled(page)
            summary += self._not_tried(settled.values())
            due = [user_id for user_id in page if user_id not in settled]
            for start in range(0, len(due), self.chunk_size):
                summary += self._bring_up_to_date(due[start : start + self.chunk_size])
                progress(summary.num_tried)
        return replace(summary, seconds=time.monotonic() - began)

    def run_for(self, user_id: str) -> BackfillSummary:
        """Bring one user's signature up to date, also if they failed or were skipped before.

        Raises:
            UnknownUser: if there is no such user.
            PersonalizationOff: if the user does not want to be personalised.
            Unavailable: as `run`.
        """
        began = time.monotonic()
        if not self.personalizes(user_id):
            raise PersonalizationOff(user_id)
        revision = self.histories.read(user_id, limit=1).revision
        if revision == 0:
            raise UnknownUser(f"no user {user_id!r} is stored: record a choice first")
        stored = self.signatures.get(user_id, self.model.model_version)
        summary = self._nothing_yet()
        if stored is None or stored.revision < revision:
            summary = self._bring_up_to_date([user_id])
        return replace(summary, seconds=time.monotonic() - began)

    def _pages(self) -> Iterator[dict[str, int]]:
        """Revisions by user: of those with a missing or stale signature."""
        after, version = "", self.model.model_version
        while page := self.signatures.stale(version, after=after, limit=PAGE):
            after = page[-1][0]
            yield dict(page)

    def _settled(self, revisions: Mapping[str, int]) -> dict[str, BackfillState]:
        """Those of a page who were tried at this revision and are not to be tried again."""
        entries = self.ledger.entries(self.model.model_version, list(revisions))
        final = final_states(retry_failed=self.retry_failed)
        return {
            user_id: entry.state
            for user_id, entry in entries.items()
            if entry.state in final and entry.revision >= revisions[user_id]
        }

    def _bring_up_to_date(self, user_ids: Sequence[str]) -> BackfillSummary:
        read = [read_input(self.histories, each, self.num_references) for each in user_ids]
        users = [user for user in read if user is not None]
        result = compute_chunk(users, self.model, self.references, batch_size=self.batch_size)
        return self._store(user_ids, users, result)

    def _store(
        self, user_ids: Sequence[str], users: Sequence[SignatureInput], result: ChunkResult
    ) -> BackfillSummary:
        """Store what became of a chunk, but for users who were erased, or lost choices, meanwhile.

        Signatures go first: ended between the two, the ledger lacks what they tell anyway.
        """
        stored = self.ledger.still_stored([user.newest_choice_id for user in users])
        gone = {user.user_id for user in users if user.newest_choice_id not in stored}
        signatures = [each for each in result.signatures if each.user_id not in gone]
        gone |= set(self.signatures.put_many(signatures))
        done = [
            self._entry(each.user_id, each.revision, BackfillState.DONE, "")
            for each in signatures
            if each.user_id not in gone
        ]
        left_out = [
            self._entry(each.user_id, each.revision, each.state, each.error)
            for each in result.left_out
            if each.user_id not in gone
        ]
        self.ledger.record([*done, *left_out])
        num_failed = sum(entry.state in FAILURES for entry in left_out)
        return replace(
            self._nothing_yet(),
            num_done=len(done),
            num_partly_read=sum(entry.user_id in result.partly_read for entry in done),
            num_skipped=len(left_out) - num_failed,
            num_failed=num_failed,
            num_erased=len(user_ids) - len(done) - len(left_out),
        )

    def _entry(self, user_id: str, revision: int, state: BackfillState, error: str) -> LedgerEntry:
        return LedgerEntry(user_id, self.model.model_version, revision, self.job, state, error)

    def _not_tried(self, states: Iterable[BackfillState]) -> BackfillSummary:
        num_by_state = Counter(states)
        return replace(
            self._nothing_yet(),
            num_skipped_before=num_by_state[BackfillState.SKIPPED],
            num_failed_before=num_by_state[BackfillState.FAILED],
        )

    def _nothing_yet(self) -> BackfillSummary:
        return BackfillSummary(self.job, self.model.model_version)
