"""Where the choices come from that tell what two users both like: from storage."""

from collections.abc import Iterable

from recsys.similarity.search import MAX_CHOICES_COMPARED
from storage.histories import HistoryStore
from storage.records import StoredChoice


class StoredChoices:
    """What users chose, from storage: the newest choices of each.

    Args:
        store: of choices.
    """

    def __init__(self, store: HistoryStore) -> None:
        self._store = store

    def num_choices(self, user_id: str) -> int:
        """Count them."""
        return self._store.user(user_id).num_choices

    def some(self, user_id: str) -> Iterable[StoredChoice]:
        """Return the newest."""
        return self._store.read(user_id, limit=MAX_CHOICES_COMPARED).choices
