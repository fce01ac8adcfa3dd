"""The page for engineers lists what a restored backup has lost of erasures, blocks and opt-outs."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.consents import ConsentStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from storage.takedowns import ImageTakedowns

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "engineer.md"


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def test_what_was_asked_for_after_the_backup_is_listed(
    tmp_path: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database(f"sqlite:///{tmp_path}/old.db")
    upgrade(database)
    keys = IdentityKeys.of(["a key for this test alone"])
    store = HistoryStore(database, blobs, keys)
    consents = ConsentStore(database, keys)
    takedowns = ImageTakedowns(database, blobs)
    for user_id in ("ann", "bob", "eve"):
        consents.update(user_id, learn_from=user_id != "eve")
    takedowns.block("a" * 64, reason="before")

    copy(tmp_path / "old.db", tmp_path / "recsys.db")
    store.erase("ann", by="a clerk")
    takedowns.block("b" * 64, reason="shows a person")
    consents.update("bob", personalize=False)
    consents.update("cid", learn_from=False)  # who came after the backup
    database.dispose()

    (listing,) = re.findall(r"```sql\n(.+?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with closing(sqlite3.connect("recsys.db")) as restored:
        answers = [restored.execute(query).fetchall() for query in listing.split(";")]
    assert answers == [
        [],
        [("ann",)],
        [("b" * 64, "shows a person")],
        [("bob", 0, 1), ("cid", 1, 0)],
        [],
    ]
