"""A user erased by another process, who comes back, is not ranked by what was erased."""

from datetime import UTC, datetime
from hashlib import sha256

from recsys.images.decode import ImageLimits
from recsys.ranking.loader import ImageLoader
from recsys.ranking.ranker import Ranker
from storage.records import Choice, ImageFacts


async def test_a_returning_user_has_another_place_in_the_cache(engine, sent, sqlite_store) -> None:
    images = ImageLoader(sqlite_store, ImageLimits())
    engine.load = images.references
    ranker = Ranker(engine, sqlite_store, images, personalizes=lambda _: True)

    def choose(liked: bytes, passed_over: bytes) -> int:
        images = {sha256(data).hexdigest(): data for data in (liked, passed_over)}
        facts = {
            sha: (ImageFacts(sha, "image/png", 8, 6, len(data)), data)
            for sha, data in images.items()
        }
        names = list(images)
        when = datetime(2026, 1, 1, tzinfo=UTC)
        choice = Choice("ann", names[0], (names[1],), "a cat", when, "test")
        return sqlite_store.append(choice, facts).stored.revision

    first = choose(sent("x", 10).image, sent("x", 20).image)
    await ranker.rank("ann", [sent("a", 51)])
    sqlite_store.erase("ann")
    sqlite_store.restore("ann")
    second = choose(sent("x", 30).image, sent("x", 40).image)
    await ranker.rank("ann", [sent("a", 51)])
    assert first == second == 1
    places = [(call["user_key"], call["revision"]) for call in engine.calls]
    assert places[0] != places[1]
    images.close()
