"""Signatures in SQL: users come to be, change and are erased."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from storage.erasing import erase_rows
from storage.records import Choice, ImageFacts, Signature
from storage.signatures import SignatureStore


@pytest.fixture
def signatures(database) -> SignatureStore:
    return SignatureStore(database)


@pytest.fixture
def put(signatures, store) -> Callable[..., list[Signature]]:
    """Store vectors of users, who come to be by a choice if they were not."""
    data = b"an image"
    facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
    images, at = {facts.sha256: (facts, data)}, datetime.now(UTC)

    def put(user_ids, vectors, version: str = "v1") -> list[Signature]:
        new = sorted(set(user_ids) - set(store.user_ids(limit=100_000)))
        choices = [Choice(user_id, facts.sha256, (), "", at, "test") for user_id in new]
        store.append_many([(choice, images) for choice in choices])
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
