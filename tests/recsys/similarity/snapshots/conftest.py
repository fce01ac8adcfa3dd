"""300 users with a vector each, and what must hold of an index whatever happened to its files."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from recsys.similarity.index import SignatureIndex
from storage.database import Database, upgrade
from storage.erasing import erase_rows
from storage.identity_keys import IdentityKeys
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.tables import UserRow
from storage.tombstones import bury

E = 8


def unit(seed: int, number: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((number, E))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def signatures(sqlite_url) -> SignatureStore:
    """300 users with a vector each."""
    database = Database(sqlite_url)
    upgrade(database)
    now = datetime.now(UTC)
    users = [f"user {place:05d}" for place in range(300)]
    with database.writing() as session:
        session.add_all([UserRow(user_id=u, revision=1, created_at=now) for u in users])
    store = SignatureStore(database)
    store.put_many([Signature(u, "v1", 1, v) for u, v in zip(users, unit(1, 300), strict=True)])
    with database.writing() as session:  # so that a second one can come
        session.execute(update(UserRow).values(revision=2))
    yield store
    database.dispose()


@pytest.fixture
def erase(signatures: SignatureStore) -> Callable[[str], None]:
    """Erase a user of these, tombstone and all."""
    keys = IdentityKeys.of(["a key for the tests"])

    def erase(user_id: str) -> None:
        with signatures.database.writing() as session:
            erase_rows(session, user_id)
            bury(session, user_id, keys, by="a test")

    return erase


@pytest.fixture
def serves_what_sql_says() -> Callable[[SignatureStore, Path], None]:
    """Open the index of a folder and compare its whole answer with SQL."""

    def serves_what_sql_says(store: SignatureStore, folder: Path) -> None:
        index = SignatureIndex(store, "v1", folder=folder, exact_max=100, rebuilds=False)
        batch = store.changes("v1", after=0, limit=100_000)
        expected = dict(zip(batch.user_ids, batch.sequences.tolist(), strict=True))
        neighbours = index.search(unit(2, 1)[0], 100_000)
        assert {each.user_id: each.sequence for each in neighbours} == expected
        near = dict(zip(batch.user_ids, batch.vectors @ unit(2, 1)[0], strict=True))
        for each in neighbours:
            assert each.similarity == pytest.approx(near[each.user_id], abs=1e-5)

    return serves_what_sql_says
