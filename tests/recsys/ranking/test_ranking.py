"""Ranking on a fake engine and a fake store; images are real."""

import asyncio
import threading
from typing import Any

import pytest

from recsys.errors import DeadlinePassed, InvalidRequest, Overloaded, Unavailable
from recsys.images.decode import ImageLimits
from recsys.ranking.candidates import Candidate, CandidateStatus, Personalization
from recsys.ranking.ranker import Ranker, order_candidates
from storage.records import History

GIVE_UP_S = 60.0


# Order


async def test_candidates_come_best_first(ranker: Ranker, sent) -> None:
    ranking = await ranker.rank("ann", [sent("a", 51), sent("b", 204), sent("c", 102)])
    assert [each.id for each in ranking.candidates] == ["b", "c", "a"]
    assert [each.rank for each in ranking.candidates] == [1, 2, 3]
    assert [each.score for each in ranking.candidates] == pytest.approx([0.8, 0.4, 0.2])
    assert (ranking.user_id, ranking.model_version) == ("ann", "fake")


async def test_equal_scores_keep_the_order_of_the_request(ranker: Ranker, sent) -> None:
    ranking = await ranker.rank("ann", [sent(name, 51) for name in "cab"])
    assert [(each.id, each.rank) for each in ranking.candidates] == [("c", 1), ("a", 2), ("b", 3)]


async def test_candidates_are_bytes_of_images_with_their_prompts(
    ranker: Ranker, engine, sent
) -> None:
    await ranker.rank("ann", [sent("a", 255, prompt="a dog 🐕")])
    (candidate,) = engine.calls[0]["candidates"]
    assert candidate.prompt == "a dog 🐕"
    assert tuple(candidate.image.shape) == (3, 6, 8)
    assert float(candidate.image.min()) == float(candidate.image.max()) == 255


async def test_scores_that_are_not_numbers_are_not_ranked(ranker: Ranker, engine, sent) -> None:
    engine.score_of = lambda shade: float("nan")
    with pytest.raises(ValueError, match="must be numbers"):
        await ranker.rank("ann", [sent("a", 51)])


def test_ordering_nothing_gives_nothing() -> None:
    assert order_candidates([], []) == []


# Bad candidates


async def test_bad_candidates_come_last_and_the_rest_is_ranked(
    ranker: Ranker, store, sent, stored
) -> None:
    known, unknown = store.add(204), "0" * 64
    ranking = await ranker.rank(
        "ann",
        [
            Candidate("text", "", image=b"this is no image"),
            sent("sent", 51),
            stored("gone", unknown),
            stored("stored", known),
            Candidate("empty", "", image=b""),
        ],
    )
    assert [(each.id, each.rank, each.status.value) for each in ranking.candidates] == [
        ("stored", 1, "RANKED"),
        ("sent", 2, "RANKED"),
        ("text", None, "INVALID_IMAGE"),
        ("gone", None, "IMAGE_NOT_FOUND"),
        ("empty", None, "INVALID_IMAGE"),
    ]
    assert [bool(each.message) for each in ranking.candidates] == [False] * 2 + [True] * 3
    assert unknown in ranking.candidates[3].message


async def test_a_stored_image_that_is_damaged_is_invalid(ranker: Ranker, store, stored) -> None:
    digest = store.add(51)
    store.images[digest] = store.images[digest][:40]
    ranking = await ranker.rank("ann", [stored("a", digest)])
    assert ranking.candidates[0].status is CandidateStatus.INVALID_IMAGE


async def test_limits_hold(make, sent) -> None:
    ranking = await make(limits=ImageLimits(max_pixels=10)).rank("ann", [sent("a", 51)])
    assert ranking.candidates[0].status is CandidateStatus.INVALID_IMAGE


async def test_when_all_are_bad_the_engine_is_not_asked(ranker: Ranker, engine, store) -> None:
    store.choose(store.add(1), store.add(2))
    ranking = await ranker.rank("ann", [Candidate("a", "", image=b"text")])
    assert engine.calls == []
    assert [each.score for each in ranking.candidates] == [None]
    assert ranking.personalization is Personalization.PARTIAL
    assert ranking.num_references == 1


# Deadlines, overload, the engine's own errors


async def test_a_deadline_already_over_reads_nothing(ranker: Ranker, store, clock, sent) -> None:
    with pytest.raises(DeadlinePassed):
        await ranker.rank("ann", [sent("a", 51)], deadline=clock.now)
    assert store.limits == []


async def test_a_deadline_that_passes_between_the_steps_ends_it_there(
    ranker: Ranker, engine, store, clock, monkeypatch: Any, stored
) -> None:
    read = store.read

    def read_slowly(user_id: str, *, limit: int | None = None) -> History:
        clock.now += 10
        return read(user_id, limit=limit)

    monkeypatch.setattr(store, "read", read_slowly)
    digest = store.add(51)
    with pytest.raises(DeadlinePassed):
        await ranker.rank("ann", [stored("a", digest)], deadline=clock.now + 5)
    assert store.num_images_read == 0
    assert engine.calls == []


async def test_too_many_candidates_at_once_are_refused_and_a_place_comes_free(
    make, store, engine, monkeypatch: Any, sent
) -> None:
    ranker = make(max_candidates=2, max_candidates_at_once=2)
    may_read, is_reading = threading.Event(), threading.Event()
    read = store.read

    def read_when_told(user_id: str, *, limit: int | None = None) -> History:
        is_reading.set()
        assert may_read.wait(GIVE_UP_S)
        return read(user_id, limit=limit)

    monkeypatch.setattr(store, "read", read_when_told)
    first = asyncio.create_task(ranker.rank("ann", [sent("a", 51), sent("b", 51)]))
    assert await asyncio.to_thread(is_reading.wait, GIVE_UP_S)
    for wait_s, retry_after_s in ((0.0, 1.0), (7.5, 7.5)):
        engine.expected_wait_s = wait_s
        with pytest.raises(Overloaded, match="at most 2 candidates") as refused:
            await ranker.rank("bob", [sent("a", 51)])
        assert refused.value.retry_after_s == retry_after_s
    may_read.set()
    await first
    await ranker.rank("bob", [sent("a", 51)])


@pytest.mark.parametrize("error", [Unavailable("draining"), Overloaded("full"), KeyError("bug")])
async def test_the_engine_s_errors_come_through(
    ranker: Ranker, engine, error: Exception, sent
) -> None:
    engine.error = error
    with pytest.raises(type(error)):
        await ranker.rank("ann", [sent("a", 51)])


def test_fewer_candidates_at_once_than_in_a_request_are_refused(make) -> None:
    with pytest.raises(ValueError, match="got 256 and 255"):
        make(max_candidates_at_once=255)


async def test_a_request_that_breaks_a_rule_is_refused_before_anything_is_read(
    ranker: Ranker, store, sent
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ranker.rank("ann", [sent("a", 51), sent("a", 51)])
    assert refused.value.field == "candidates[1].id"
    assert store.limits == []


async def test_who_opted_out_is_ranked_as_a_stranger_and_nothing_of_them_is_read(
    ranker, store, engine, sent
) -> None:
    for _ in range(3):
        store.choose(store.add(200), store.add(30))
    store.opted_out.add("ann")
    ranking = await ranker.rank("ann", [sent("dark", 20), sent("light", 240)])
    assert ranking.is_opted_out
    assert (ranking.personalization, ranking.num_references) == (Personalization.COLD_START, 0)
    assert (store.limits, store.num_images_read) == ([], 0)
    stranger = await ranker.rank("bob", [sent("dark", 20), sent("light", 240)])
    assert not stranger.is_opted_out
    assert stranger.candidates == ranking.candidates
    first, second = engine.calls
    assert first | {"candidates": ()} == second | {"candidates": ()}
    assert (first["user_key"], first["revision"], first["pairs"]) == ("", 0, ())


async def test_also_where_no_image_can_be_ranked_it_is_told(ranker, store, stored) -> None:
    store.opted_out.add("ann")
    assert (await ranker.rank("ann", [stored("gone", "0" * 64)])).is_opted_out
