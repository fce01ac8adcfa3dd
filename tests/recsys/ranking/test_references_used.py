"""Which of a user the ranking rests on, and what it reads for that."""

from typing import Any

import pytest

from recsys.history import MAX_CHOICES_READ
from recsys.ranking.candidates import Personalization
from recsys.ranking.ranker import NOBODY, Ranker
from storage.records import History

GIVE_UP_S = 60.0


async def test_an_unknown_user_is_ranked_for_nobody(ranker: Ranker, engine, sent) -> None:
    ranking = await ranker.rank("stranger", [sent("a", 51)])
    assert ranking.personalization is Personalization.COLD_START
    assert ranking.num_references == 0
    assert ranking.candidates[0].rank == 1
    assert (engine.calls[0]["user_key"], engine.calls[0]["revision"]) == (NOBODY, 0)


async def test_a_user_without_pairs_shares_the_prefix_of_nobody(
    ranker: Ranker, engine, store, sent
) -> None:
    store.choose(store.add(1))
    assert (await ranker.rank("ann", [sent("a", 51)])).personalization.value == "COLD_START"
    assert engine.calls[0]["user_key"] == NOBODY


@pytest.mark.parametrize(
    ("num_choices", "expected"),
    [(1, Personalization.PARTIAL), (2, Personalization.WARM), (3, Personalization.WARM)],
)
async def test_personalization_tells_how_full_the_references_are(
    ranker: Ranker, store, num_choices: int, expected: Personalization, sent
) -> None:
    for shade in range(num_choices):
        store.choose(store.add(shade), store.add(100 + shade))
    ranking = await ranker.rank("ann", [sent("a", 51)])
    assert ranking.personalization is expected
    assert ranking.num_references == min(num_choices, 2)


async def test_the_engine_learns_whose_which_and_since_when(
    ranker: Ranker, engine, store, sent
) -> None:
    store.choose(store.add(255), store.add(0))
    await ranker.rank("ann", [sent("a", 51)], deadline=2000.0)
    call = engine.calls[0]
    of_choice_1_at_revision_1 = 1 * 2**63 + 1
    assert (call["user_key"], call["revision"]) == ("ann", of_choice_1_at_revision_1)
    assert call["since"] == 7
    assert (call["deadline"], len(call["pairs"])) == (2000.0, 1)
    (reference,) = call["loaded"]
    assert (float(reference.liked.min()), float(reference.disliked.max())) == (255, 0)
    assert reference.prompt == "a cat"


async def test_since_is_read_before_the_history(
    ranker: Ranker, engine, store, monkeypatch: pytest.MonkeyPatch, sent
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
    ranker: Ranker, engine, store, damage: str, caplog: Any, sent
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
    assert len(engine.calls[0]["pairs"]) == 2  # so the engine knows that one is missing
    assert bad in caplog.text


async def test_an_image_in_several_references_is_read_once(
    ranker: Ranker, engine, store, sent
) -> None:
    store.choose(store.add(1), store.add(2), store.add(3))
    await ranker.rank("ann", [sent("a", 51)])
    assert len(engine.calls[0]["loaded"]) == 2
    assert store.num_images_read == 3


async def test_no_more_history_is_read_than_needed(ranker: Ranker, store, sent) -> None:
    for _ in range(50):
        store.choose("a" * 64, "b" * 64)
    await ranker.rank("ann", [sent("a", 51)])
    assert store.limits == [2]


async def test_it_reads_on_until_there_are_pairs_but_not_for_ever(
    ranker: Ranker, store, sent
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
