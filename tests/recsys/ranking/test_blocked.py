"""Images that were taken down: not scored as candidates, and not remembered as references."""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from recsys.errors import DeadlinePassed
from recsys.images.decode import ImageLimits
from recsys.ranking.candidates import Candidate, CandidateStatus
from recsys.ranking.loader import ImageLoader
from recsys.ranking.ranker import Ranker
from storage.consents import ConsentStore
from storage.records import Choice, ImageFacts
from storage.takedowns import ImageTakedowns


def blocking(*digests: str):
    return lambda asked: set(digests) & set(asked)


async def test_blocked_candidates_come_last_without_a_score(make, store, engine, sent, stored):
    bad, gone = sent("sent", 250), "0" * 64
    ranker: Ranker = make(blocked_among=blocking(bad.digest, gone))
    ranking = await ranker.rank("ann", [bad, sent("a", 51), stored("stored", gone), sent("b", 204)])
    assert [(each.id, each.rank) for each in ranking.candidates] == [
        *(("b", 1), ("a", 2)),
        *(("sent", None), ("stored", None)),
    ]
    blocked = ranking.candidates[2:]
    assert {each.status for each in blocked} == {CandidateStatus.BLOCKED}
    assert {each.reason for each in blocked} == {"IMAGE_BLOCKED"}
    assert all("taken down" in each.message for each in blocked)
    assert store.num_images_read == 0  # a stored one is not even read


async def test_nothing_but_blocked_candidates_is_an_answer(make, engine, sent):
    ranker: Ranker = make(blocked_among=blocking(sent("a", 51).digest))
    ranking = await ranker.rank("ann", [sent("a", 51), sent("again", 51)])
    assert [each.status for each in ranking.candidates] == [CandidateStatus.BLOCKED] * 2
    assert engine.calls == []


async def test_no_digest_is_computed_where_none_is_asked_for(make, sent, monkeypatch):
    def fail(_: Candidate) -> str:
        raise AssertionError("nothing is blocked")

    def none_blocked(_: Iterable[str]) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(Candidate, "digest", property(fail))
    ranking = await make(blocked_among=none_blocked).rank("ann", [sent("a", 51)])
    assert ranking.candidates[0].rank == 1


async def test_what_fails_to_tell_fails_the_ranking(make, engine, sent):
    def fail(_: Iterable[str]) -> frozenset[str]:
        raise DeadlinePassed("too late")

    with pytest.raises(DeadlinePassed):
        await make(blocked_among=fail).rank("ann", [sent("a", 51)])
    assert engine.calls == []


async def test_a_history_that_lost_an_older_image_has_another_place_in_the_cache(
    engine, sent, sqlite_store
):
    """Although its newest choice is the same: the prefix that another process keeps is not used."""
    images = ImageLoader(sqlite_store, ImageLimits())
    engine.load = images.references
    consents = ConsentStore(sqlite_store.database)
    ranker = Ranker(engine, sqlite_store, images, personalizes=consents.personalizes)
    for shade in (10, 30):
        given = {}
        for data in (sent("x", shade).image, sent("x", shade + 1).image):
            sha = sha256(data).hexdigest()
            given[sha] = (ImageFacts(sha, "image/png", 8, 6, len(data)), data)
        liked, passed = given
        when = datetime(2026, 1, 1, tzinfo=UTC)
        sqlite_store.append(Choice("ann", liked, (passed,), "a cat", when, "test"), given)

    await ranker.rank("ann", [sent("a", 51)])
    ImageTakedowns(sqlite_store.database, sqlite_store.blobs).remove(sent("x", 10).digest)
    await ranker.rank("ann", [sent("a", 51)])

    before, after = engine.calls
    assert [len(call["pairs"]) for call in (before, after)] == [2, 1]
    assert before["revision"] != after["revision"]
    images.close()
