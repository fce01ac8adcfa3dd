"""Ranking on a fake engine and a fake store; images are real."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.engine import Scored
from recsys.errors import DeadlinePassed, InvalidRequest, Overloaded, Unavailable
from recsys.images import ImageGeometry, ImageLimits, to_model_input
from recsys.ranking import (
    MAX_CHOICES_READ,
    NOBODY,
    Candidate,
    CandidateStatus,
    Personalization,
    Ranker,
    order_candidates,
)
from storage.errors import UnknownImage
from storage.records import Choice, History, StoredChoice

GIVE_UP_S = 60.0


def picture(shade: int) -> bytes:
    """Encode a small grey image; the fake engine scores it by its shade."""
    data = io.BytesIO()
    Image.new("RGB", (8, 6), (shade,) * 3).save(data, "PNG")
    return data.getvalue()


def sent(name: str, shade: int, prompt: str = "a cat") -> Candidate:
    return Candidate(name, prompt, image=picture(shade))


def stored(name: str, digest: str) -> Candidate:
    return Candidate(name, "a cat", sha256=digest)


@dataclass
class FakeStore:
    """Choices and images in memory, counting what is read."""

    choices: list[Choice] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    limits: list[int | None] = field(default_factory=list)
    num_images_read: int = 0

    def add(self, shade: int) -> str:
        digest = sha256(picture(shade)).hexdigest()
        self.images[digest] = picture(shade)
        return digest

    def choose(self, liked: str | None, *passed_over: str) -> None:
        when = datetime(2026, 1, 1, tzinfo=UTC)
        self.choices.append(Choice("ann", liked, passed_over, "a cat", when, "test"))

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        self.limits.append(limit)
        mine = [each for each in self.choices if each.user_id == user_id]
        all_stored = [StoredChoice(n, n, each) for n, each in enumerate(mine, start=1)]
        return History(user_id, len(mine), tuple(all_stored[-limit if limit else 0 :]))

    def image(self, sha256: str) -> bytes:
        self.num_images_read += 1
        if sha256 not in self.images:
            raise UnknownImage(sha256)
        return self.images[sha256]


@dataclass
class FakeEngine:
    """Scores each target by its shade; loads the references as a cold user's would be."""

    model_version: str = "fake"
    num_forgotten: int = 7
    calls: list[dict[str, Any]] = field(default_factory=list)
    score_of: Callable[[float], float] = lambda shade: shade
    error: Exception | None = None

    async def score(
        self,
        user_key: str,
        revision: int,
        references: Callable[[], Sequence[Any]],
        targets: Sequence[Any],
        **options: Any,
    ) -> Scored:
        loaded = await asyncio.to_thread(references)
        self.calls.append(
            {"user_key": user_key, "revision": revision, "loaded": loaded, "targets": targets}
            | options
        )
        if self.error is not None:
            raise self.error
        shades = [float(target.image.mean()) for target in targets]
        return Scored(tuple(self.score_of(shade) for shade in shades), len(loaded))


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(engine: FakeEngine, store: FakeStore, clock: FakeClock) -> Iterator[Callable[..., Ranker]]:
    made: list[Ranker] = []

    def make_ranker(**options: Any) -> Ranker:
        made.append(Ranker(engine, store, **({"num_references": 2, "clock": clock} | options)))
        return made[-1]

    yield make_ranker
    for ranker in made:
        ranker.close()


@pytest.fixture
def ranker(make: Callable[..., Ranker]) -> Ranker:
    return make()


# Order


async def test_candidates_come_best_first(ranker: Ranker) -> None:
    ranking = await ranker.rank("ann", [sent("a", 51), sent("b", 204), sent("c", 102)])
    assert [each.id for each in ranking.candidates] == ["b", "c", "a"]
    assert [each.rank for each in ranking.candidates] == [1, 2, 3]
    assert [each.score for each in ranking.candidates] == pytest.approx([0.8, 0.4, 0.2])
    assert (ranking.user_id, ranking.model_version) == ("ann", "fake")


async def test_equal_scores_keep_the_order_of_the_request(ranker: Ranker) -> None:
    ranking = await ranker.rank("ann", [sent(name, 51) for name in "cab"])
    assert [(each.id, each.rank) for each in ranking.candidates] == [("c", 1), ("a", 2), ("b", 3)]


async def test_targets_are_images_in_0_to_1_with_their_prompts(
    ranker: Ranker, engine: FakeEngine
) -> None:
    await ranker.rank("ann", [sent("a", 255, prompt="a dog 🐕")])
    (target,) = engine.calls[0]["targets"]
    assert target.prompt == "a dog 🐕"
    assert tuple(target.image.shape) == (3, 6, 8)
    assert float(target.image.min()) == float(target.image.max()) == 1.0


async def test_scores_that_are_not_numbers_are_not_ranked(
    ranker: Ranker, engine: FakeEngine
) -> None:
    engine.score_of = lambda shade: float("nan")
    with pytest.raises(ValueError, match="must be numbers"):
        await ranker.rank("ann", [sent("a", 51)])


def test_ordering_nothing_gives_nothing() -> None:
    assert order_candidates([], []) == []


# Bad candidates


async def test_bad_candidates_come_last_and_the_rest_is_ranked(
    ranker: Ranker, store: FakeStore
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


async def test_a_stored_image_that_is_damaged_is_invalid(ranker: Ranker, store: FakeStore) -> None:
    digest = store.add(51)
    store.images[digest] = store.images[digest][:40]
    ranking = await ranker.rank("ann", [stored("a", digest)])
    assert ranking.candidates[0].status is CandidateStatus.INVALID_IMAGE


async def test_limits_hold(make: Callable[..., Ranker]) -> None:
    ranking = await make(limits=ImageLimits(max_pixels=10)).rank("ann", [sent("a", 51)])
    assert ranking.candidates[0].status is CandidateStatus.INVALID_IMAGE


async def test_when_all_are_bad_the_engine_is_not_asked(
    ranker: Ranker, engine: FakeEngine, store: FakeStore
) -> None:
    store.choose(store.add(1), store.add(2))
    ranking = await ranker.rank("ann", [Candidate("a", "", image=b"text")])
    assert engine.calls == []
    assert [each.score for each in ranking.candidates] == [None]
    assert ranking.personalization is Personalization.PARTIAL
    assert ranking.num_references == 1


# Users and references


async def test_an_unknown_user_is_ranked_for_nobody(ranker: Ranker, engine: FakeEngine) -> None:
    ranking = await ranker.rank("stranger", [sent("a", 51)])
    assert ranking.personalization is Personalization.COLD_START
    assert ranking.num_references == 0
    assert ranking.candidates[0].rank == 1
    assert (engine.calls[0]["user_key"], engine.calls[0]["revision"]) == (NOBODY, 0)


async def test_a_user_without_pairs_shares_the_prefix_of_nobody(
    ranker: Ranker, engine: FakeEngine, store: FakeStore
) -> None:
    store.choose(store.add(1))
    assert (await ranker.rank("ann", [sent("a", 51)])).personalization.value == "COLD_START"
    assert engine.calls[0]["user_key"] == NOBODY


@pytest.mark.parametrize(
    ("num_choices", "expected"),
    [(1, Personalization.PARTIAL), (2, Personalization.WARM), (3, Personalization.WARM)],
)
async def test_personalization_tells_how_full_the_references_are(
    ranker: Ranker, store: FakeStore, num_choices: int, expected: Personalization
) -> None:
    for shade in range(num_choices):
        store.choose(store.add(shade), store.add(100 + shade))
    ranking = await ranker.rank("ann", [sent("a", 51)])
    assert ranking.personalization is expected
    assert ranking.num_references == min(num_choices, 2)


async def test_the_engine_learns_whose_which_and_since_when(
    ranker: Ranker, engine: FakeEngine, store: FakeStore
) -> None:
    store.choose(store.add(255), store.add(0))
    await ranker.rank("ann", [sent("a", 51)], deadline=2000.0)
    call = engine.calls[0]
    assert (call["user_key"], call["revision"], call["since"]) == ("ann", 1, 7)
    assert (call["deadline"], call["num_references"]) == (2000.0, 1)
    (reference,) = call["loaded"]
    assert (float(reference.liked.mean()), float(reference.disliked.mean())) == (1.0, 0.0)
    assert reference.prompt == "a cat"


async def test_since_is_read_before_the_history(
    ranker: Ranker, engine: FakeEngine, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.read

    def read_and_be_erased(user_id: str, *, limit: int | None = None) -> History:
        history = read(user_id, limit=limit)
        engine.num_forgotten += 1
        return history

    monkeypatch.setattr(store, "read", read_and_be_erased)
    await ranker.rank("ann", [sent("a", 51)])
    assert engine.calls[0]["since"] == 7


@pytest.mark.parametrize("damage", ["lost", "truncated"])
async def test_a_reference_that_cannot_be_read_is_left_out_and_shows(
    ranker: Ranker, engine: FakeEngine, store: FakeStore, damage: str, caplog: Any
) -> None:
    store.choose(store.add(1), store.add(2))
    bad = store.add(3)
    store.choose(bad, store.add(4))
    if damage == "lost":
        del store.images[bad]
    else:
        store.images[bad] = store.images[bad][:40]
    ranking = await ranker.rank("ann", [sent("a", 51)])
    assert ranking.num_references == 1
    assert ranking.personalization is Personalization.PARTIAL
    assert engine.calls[0]["num_references"] == 2  # so the engine knows that one is missing
    assert bad in caplog.text


async def test_an_image_in_several_references_is_read_once(
    ranker: Ranker, engine: FakeEngine, store: FakeStore
) -> None:
    store.choose(store.add(1), store.add(2), store.add(3))
    await ranker.rank("ann", [sent("a", 51)])
    assert len(engine.calls[0]["loaded"]) == 2
    assert store.num_images_read == 3


async def test_no_more_history_is_read_than_needed(ranker: Ranker, store: FakeStore) -> None:
    for _ in range(50):
        store.choose("a" * 64, "b" * 64)
    await ranker.rank("ann", [sent("a", 51)])
    assert store.limits == [2]


async def test_it_reads_on_until_there_are_pairs_but_not_for_ever(
    ranker: Ranker, store: FakeStore
) -> None:
    store.choose(store.add(1), store.add(2))
    store.choose(store.add(3), store.add(4))
    for _ in range(10):
        store.choose(store.add(5))
    assert (await ranker.rank("ann", [sent("a", 51)])).num_references == 2
    assert store.limits == [2, 16]
    store.limits.clear()
    for _ in range(MAX_CHOICES_READ):
        store.choose(store.add(5))
    assert (await ranker.rank("ann", [sent("a", 51)])).num_references == 0
    assert store.limits == [2, 16, 128, MAX_CHOICES_READ]


@pytest.mark.parametrize("geometry", [ImageGeometry(378, 980), ImageGeometry(square_px=64)])
async def test_images_wait_in_the_model_s_size_and_the_model_sees_the_same_bits(
    make: Callable[..., Ranker], engine: FakeEngine, geometry: ImageGeometry
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 1200, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    await make(geometry=geometry).rank("ann", [Candidate("a", "", image=data.getvalue())])
    image = engine.calls[0]["targets"][0].image
    assert tuple(image.shape[-2:]) == geometry.size(90, 1200)
    whole = torch.from_numpy(noise).permute(2, 0, 1).float() / 255
    assert torch.equal(to_model_input(image, geometry), to_model_input(whole, geometry))


# Deadlines, overload, the engine's own errors


async def test_a_deadline_already_over_reads_nothing(
    ranker: Ranker, store: FakeStore, clock: FakeClock
) -> None:
    with pytest.raises(DeadlinePassed):
        await ranker.rank("ann", [sent("a", 51)], deadline=clock.now)
    assert store.limits == []


async def test_a_deadline_that_passes_between_the_steps_ends_it_there(
    ranker: Ranker, engine: FakeEngine, store: FakeStore, clock: FakeClock, monkeypatch: Any
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
    make: Callable[..., Ranker], store: FakeStore, monkeypatch: Any
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
    with pytest.raises(Overloaded, match="at most 2 candidates"):
        await ranker.rank("bob", [sent("a", 51)])
    may_read.set()
    await first
    await ranker.rank("bob", [sent("a", 51)])


@pytest.mark.parametrize("error", [Unavailable("draining"), Overloaded("full"), KeyError("bug")])
async def test_the_engine_s_errors_come_through(
    ranker: Ranker, engine: FakeEngine, error: Exception
) -> None:
    engine.error = error
    with pytest.raises(type(error)):
        await ranker.rank("ann", [sent("a", 51)])


def test_fewer_candidates_at_once_than_in_a_request_are_refused(
    make: Callable[..., Ranker],
) -> None:
    with pytest.raises(ValueError, match="got 256 and 255"):
        make(max_candidates_at_once=255)


async def test_a_request_that_breaks_a_rule_is_refused_before_anything_is_read(
    ranker: Ranker, store: FakeStore
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ranker.rank("ann", [sent("a", 51), sent("a", 51)])
    assert refused.value.field == "candidates[1].id"
    assert store.limits == []
