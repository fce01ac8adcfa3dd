"""What is read of a user before they are erased, to know afterwards where else to look."""

from dataclasses import dataclass
from datetime import datetime

from storage.clusters.records import ClusterRun
from storage.clusters.runs import ClusterStore
from storage.errors import UnknownUser
from storage.histories import HistoryStore


@dataclass(frozen=True, slots=True)
class Before:
    """A user as they were stored.

    Attributes:
        created_at: when they were first stored, UTC: what was made before holds nothing of them.
        runs: of clusters, with the user in one of them.
    """

    created_at: datetime
    runs: tuple[ClusterRun, ...]


def read_before(store: HistoryStore, user_id: str) -> Before | None:
    """Read it; None for a user who is not stored, maybe because an erasure was stopped half way.

    Raises:
        InvalidRecord: if the id breaks its rule.
        StorageError: if storage does not answer.
    """
    try:
        created_at = store.user(user_id).created_at
    except UnknownUser:
        return None
    return Before(created_at, tuple(ClusterStore(store.database).runs_with(user_id)))
