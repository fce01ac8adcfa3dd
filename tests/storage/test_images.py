"""Which images are stored."""

import hashlib
from datetime import UTC, datetime

from storage.database import Database
from storage.histories import HistoryStore
from storage.images import stored_among
from storage.records import Choice, ImageFacts
from storage.tables import BlockedImageRow
from storage.takedowns import ImageTakedowns


def test_stored_images_are_told_from_others_and_from_blocked_ones(
    store: HistoryStore, database: Database
) -> None:
    names = []
    for number in range(600):
        data = str(number).encode()
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
        names.append(facts.sha256)
        if number % 200 == 0:
            choice = Choice("ann", facts.sha256, (), "", datetime(2026, 1, 1, tzinfo=UTC), "test")
            store.append(choice, {facts.sha256: (facts, data)})
    stored = {names[0], names[200], names[400]}
    assert stored_among(database, names) == stored
    assert stored_among(database, []) == set()
    with database.writing() as session:  # as while its takedown goes on
        row = BlockedImageRow(
            sha256=names[0], blocked_at=datetime(2026, 1, 1, tzinfo=UTC), blocked_by="", reason=""
        )
        session.add(row)
    assert stored_among(database, names) == stored - {names[0]}
    ImageTakedowns(database, store.blobs).remove(names[200])
    assert stored_among(database, names) == {names[400]}
