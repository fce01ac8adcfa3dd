"""What was learned for new users, and the pairs they are shown, whoever is erased meanwhile."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from storage.coldstart import populations
from storage.coldstart.first_questions import living
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.consents import ConsentStore
from storage.erasing import erase_rows
from storage.tables import ColdStartRow
from storage.takedowns import ImageTakedowns


@pytest.fixture
def cold_starts(store) -> ColdStartStore:
    return ColdStartStore(store.database)


@pytest.fixture
def pair(digest):
    return lambda first, second, prompt="a hill": FirstQuestion(
        digest(first), digest(second), prompt, 0.5
    )


@pytest.fixture
def learned(cold_starts):
    """Store pairs for a model version."""

    def learned(*pairs: FirstQuestion, version: str = "v1") -> FirstQuestions:
        questions = FirstQuestions("a population", pairs)
        cold_starts.put(StoredColdStart(version, 3, 7, b"numbers", questions))
        return questions

    return learned


def kept(store) -> str:
    """All that the database holds of pairs."""
    with store.database.session() as session:
        return "".join(session.scalars(select(ColdStartRow.first_questions)))


def test_what_is_put_is_read(store, cold_starts, choose, learned, pair) -> None:
    store.append(*choose())
    questions = learned(pair("a", "b"))
    assert cold_starts.first_questions("v1") == questions
    stored = cold_starts.get("v1")
    assert stored is not None
    assert stored.created_at is not None
    assert (stored.num_users, stored.num_pairs, stored.data) == (3, 7, b"numbers")
    assert stored.first_questions == questions
    assert cold_starts.first_questions("v2") is None
    assert cold_starts.get("v2") is None
    assert cold_starts.remove("v1")
    assert not cold_starts.remove("v1")
    assert cold_starts.first_questions("v1") is None


def test_the_newest_replaces_what_was_there_for_its_model_version_only(
    cold_starts: ColdStartStore,
) -> None:
    for version, data in (("v1", b"old"), ("v2", b"other"), ("v1", bytes(range(256)) * 5000)):
        cold_starts.put(StoredColdStart(version, 3, 7, data))
    first, second = (cold_starts.get(version) for version in ("v1", "v2"))
    assert first is not None
    assert second is not None
    assert (first.data, second.data) == (bytes(range(256)) * 5000, b"other")
    assert first.created_at is not None
    assert second.created_at is not None
    assert first.created_at >= second.created_at
    assert first.created_at.utcoffset() == timedelta(0)
    assert cold_starts.remove("v1")
    assert cold_starts.get("v2") == second


def test_no_pairs_were_chosen(cold_starts) -> None:
    cold_starts.put(StoredColdStart("v1", 3, 7, b"numbers"))
    assert cold_starts.first_questions("v1") is None
    stored = cold_starts.get("v1")
    assert stored is not None
    assert stored.first_questions is None


def test_an_erased_image_takes_its_pair_along_from_that_very_moment(
    store, cold_starts, choose, learned, pair
) -> None:
    store.append(*choose("ann", "a", ("b",)))
    store.append(*choose("bob", "c", ("d",)))
    learned(pair("a", "b"), pair("c", "d"))
    store.erase("ann")
    assert cold_starts.first_questions("v1").pairs == (pair("c", "d"),)
    assert pair("a", "b").first_sha256 not in kept(store)


def test_images_that_others_chose_from_too_stay(store, cold_starts, choose, learned, pair) -> None:
    for user in ("ann", "bob"):
        store.append(*choose(user, "a", ("b",)))
    questions = learned(pair("a", "b"))
    store.erase("ann")
    assert cold_starts.first_questions("v1") == questions


def test_an_erased_prompt_goes_though_its_images_stay(
    store, cold_starts, choose, learned, pair
) -> None:
    store.append(*choose("ann", "a", ("b",), prompt="ann's own words"))
    store.append(*choose("bob", "b", ("a",), prompt="a hill"))
    learned(pair("a", "b", "ann's own words"), pair("a", "b", ""))
    learned(pair("a", "b", "a hill"), version="v2")
    store.erase("ann")
    assert cold_starts.first_questions("v1").pairs == (pair("a", "b", ""),)
    assert "own words" not in kept(store)
    assert cold_starts.first_questions("v2").pairs == (pair("a", "b", "a hill"),)


def test_pairs_whose_images_went_while_they_were_learned_are_not_stored(
    store, cold_starts, choose, learned, pair
) -> None:
    store.append(*choose("ann", "a", ("b",)))
    store.append(*choose("bob", "c", ("d",)))
    store.erase("ann")
    learned(pair("a", "b"), pair("c", "d"), pair("c", "b", ""))
    assert cold_starts.first_questions("v1").pairs == (pair("c", "d"),)
    assert pair("a", "b").first_sha256 not in kept(store)


GONE = {
    "erase": lambda store, sha256: store.erase("ann"),
    "remove": lambda store, sha256: ImageTakedowns(store.database, store.blobs).remove(sha256),
    "no longer learned from": lambda store, sha256: ConsentStore(store.database).update(
        "ann", learn_from=False
    ),
}


@pytest.mark.parametrize("how", GONE)
def test_what_goes_while_questions_are_being_stored_is_not_in_them(
    store, stores, choose, learned, pair, digest, monkeypatch, how: str
) -> None:
    store.append_many([choose("ann", liked="hers"), choose("bob", liked="a")])
    elsewhere, errors = stores(), []

    def go() -> None:
        try:
            GONE[how](elsewhere, digest("hers"))
        except BaseException as error:
            errors.append(error)

    remover = threading.Thread(target=go)

    def slow(session, questions):
        left = living(session, questions)
        remover.start()
        remover.join(1)  # time to slip in; held out by the lock, it goes on afterwards
        return left

    with monkeypatch.context() as patch:
        patch.setattr(populations, "living", slow)
        learned(pair("hers", "b"), pair("a", "b"))
    remover.join(60)
    assert not remover.is_alive()
    assert errors == []
    assert digest("hers") not in kept(store)
    assert digest("a") in kept(store)


def test_questions_that_are_stored_while_somebody_is_erased_wait_for_it(
    store, stores, choose, pair, digest
) -> None:
    store.append_many([choose("ann", liked="hers"), choose("bob", liked="a")])
    elsewhere = ColdStartStore(stores().database)
    questions = FirstQuestions("p", (pair("hers", "b"), pair("a", "b")))
    put = threading.Thread(
        target=elsewhere.put, args=[StoredColdStart("v1", 3, 7, b"numbers", questions)]
    )
    with store.database.writing() as session:
        erase_rows(session, "ann")
        put.start()
        put.join(1)
    put.join(60)
    assert not put.is_alive()
    assert digest("hers") not in kept(store)
    assert digest("a") in kept(store)
