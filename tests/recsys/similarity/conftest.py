"""Signatures in SQL: users come to be, change and are erased."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from storage.erasing import erase_rows
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.tables import UserRow


@pytest.fixture
def signatures(database) -> SignatureStore:
    return SignatureStore(database)


@pytest.fixture
def put(signatures, database) -> Callable[..., list[Signature]]:
    """Store vectors of users, who come to be if they were not."""

    def put(user_ids, vectors, version: str = "v1") -> list[Signature]:
        with database.writing() as session:
            known = set(session.scalars(select(UserRow.user_id)))
            now = datetime.now(UTC)
            session.add_all(
                [UserRow(user_id=u, revision=1, created_at=now) for u in user_ids if u not in known]
            )
        given = [Signature(u, version, 1, v) for u, v in zip(user_ids, vectors, strict=True)]
        assert signatures.put_many(given) == []
        return given

    return put


@pytest.fixture
def erase(database) -> Callable[[str], None]:
    """As an erasure does, which removes more."""

    def erase(user_id: str) -> None:
        with database.writing() as session:
            erase_rows(session, user_id)

    return erase
