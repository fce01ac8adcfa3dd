"""Looking around in storage, on SQLite and PostgreSQL; and that reading can change nothing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from storage.browsing import Browser, Order, Window, step_for
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.records import Choice, ImageFacts, Signature
from storage.signatures import SignatureStore
from storage.tables import UserRow

AT = datetime(2026, 3, 1, tzinfo=UTC)
VERSION = "v1"
IDS = ["Ann", "ann", "ann-2", "bea", "émile"]


@pytest.fixture
def browser(store):
    """Five users with one choice each, a day apart; the first four have signatures."""
    data = b"image"
    sha256 = store.blobs.put(data)
    facts = ImageFacts(sha256, "image/png", 1, 1, len(data))
    for day, user_id in enumerate(IDS):
        choice = Choice(user_id, sha256, (), "", AT + timedelta(days=day), "test")
        store.append(choice, {sha256: (facts, data)})
    signatures = [Signature(user_id, VERSION, 1, _vector(n)) for n, user_id in enumerate(IDS[:4])]
    SignatureStore(store.database).put_many(signatures)
    store.append(Choice("bea", sha256, (), "", AT + timedelta(days=9), "test"))
    return Browser(store.database)


def _vector(number):
    return np.eye(8, dtype=np.float32)[number]


def _ids(users):
    return [user.user_id for user in users]


def test_any_part_of_an_id_finds_it_in_upper_or_lower_case(browser):
    assert _ids(browser.users("ann", model_version=VERSION)) == ["Ann", "ann", "ann-2"]
    assert _ids(browser.users("N-", model_version=VERSION)) == ["ann-2"]
    assert _ids(browser.users("mil", model_version=VERSION)) == ["émile"]
    assert _ids(browser.users("é", model_version=VERSION)) == ["émile"]
    assert _ids(browser.users("a%", model_version=VERSION)) == []
    assert _ids(browser.users("b_a", model_version=VERSION)) == []
    assert _ids(browser.users("b\x00ea\n", model_version=VERSION)) == ["bea"]


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        (Order.ID, IDS),
        (Order.CHOICES, ["bea", "Ann", "ann", "ann-2", "émile"]),
        (Order.NEWEST, ["bea", "ann-2", "ann", "Ann", "émile"]),
    ],
)
def test_pages_of_a_list_make_up_the_whole(browser, order, ids):
    for size in (1, 2, 3, 9):
        pages = [
            _ids(
                browser.users(model_version=VERSION, order=order, offset=offset, limit=size),
            )
            for offset in range(0, 6, size)
        ]
        assert [each for page in pages for each in page] == ids
    assert browser.users(model_version=VERSION, order=order, offset=9) == []
    named = browser.users("ann", model_version=VERSION, order=order)
    assert _ids(named) == [each for each in ids if "ann" in each.lower()]


def test_a_list_is_counted(browser):
    late = Window(chosen_from=AT + timedelta(days=2))

    assert browser.count(model_version=VERSION) == 5
    assert browser.count("ANN", model_version=VERSION) == 3
    assert browser.count("ann", model_version=VERSION, window=late) == 1
    assert browser.count("nobody", model_version=VERSION) == 0


def test_an_empty_part_finds_all_by_id_up_to_the_limit(browser):
    assert _ids(browser.users(model_version=VERSION)) == IDS
    assert _ids(browser.users(model_version=VERSION, limit=2)) == IDS[:2]


def test_every_user_of_a_selection_is_read_in_parts(browser, monkeypatch):
    monkeypatch.setattr("storage.browsing._ROWS_AT_ONCE", 2)
    late = Window(chosen_from=AT + timedelta(days=1))

    assert _ids(browser.every(model_version=VERSION)) == IDS
    assert _ids(browser.every("ann", model_version=VERSION)) == ["Ann", "ann", "ann-2"]
    assert _ids(browser.every(model_version=VERSION, window=late)) == IDS[1:]


def test_a_user_tells_whether_the_signature_is_fresh(browser):
    fresh, stale, unsigned = (
        browser.user(name, model_version=VERSION) for name in ("ann", "bea", "émile")
    )

    assert fresh.is_fresh
    assert fresh.last_choice_at == AT + timedelta(days=1)
    assert (stale.revision, stale.signed_revision, stale.is_fresh) == (2, 1, False)
    assert stale.last_choice_at == AT + timedelta(days=9)
    assert unsigned.signed_revision is None
    assert not unsigned.is_fresh


@pytest.mark.parametrize("name", ["nobody", "", "a\x00b"])
def test_an_unknown_user_is_none(browser, name):
    assert browser.user(name, model_version=VERSION) is None


def test_the_newest_signatures_come_first(browser):
    assert _ids(browser.newest(model_version=VERSION, limit=2)) == ["bea", "ann-2"]
    assert browser.newest(model_version="another") == []


def test_a_window_bounds_the_last_choice_and_the_signature(browser):
    chosen = Window(chosen_from=AT + timedelta(days=1), chosen_until=AT + timedelta(days=3))
    signed = Window(signed_from=datetime.now(UTC) - timedelta(hours=1))
    never = Window(signed_until=AT)

    assert _ids(browser.users(model_version=VERSION, window=chosen)) == ["ann", "ann-2"]
    assert _ids(browser.users(model_version=VERSION, window=signed)) == IDS[:4]
    assert browser.users(model_version=VERSION, window=never) == []
    assert Window().is_open
    assert not never.is_open


def test_a_sample_has_each_signature_with_its_vector(browser):
    users = browser.sample(model_version=VERSION, step=1)
    sequences, vectors = browser.sample_vectors(model_version=VERSION, step=1)

    assert [user.sequence for user in users] == [1, 2, 3, 4] == sequences.tolist()
    assert _ids(users) == IDS[:4]
    np.testing.assert_array_equal(vectors, np.eye(8, dtype=np.float32)[:4])


def test_a_sample_holds_whatever_recurs(database):
    names = [f"u{number:03}" for number in range(640)]
    with database.writing() as session:
        session.add_all([UserRow(user_id=name, revision=0, created_at=AT) for name in names])
    signatures = [Signature(name, VERSION, 0, _vector(0)) for name in names]
    SignatureStore(database).put_many(signatures)
    browser = Browser(database)

    users = browser.sample(model_version=VERSION, step=8)
    finer = browser.sample(model_version=VERSION, step=4)
    sequences, _ = browser.sample_vectors(model_version=VERSION, step=8)

    assert [user.sequence for user in users] == sequences.tolist()
    assert 70 <= len(users) <= 90, "one of eight"
    assert set(users) < set(finer)
    for period in (2, 3, 8, 10, 16):
        assert {sequence % period for sequence in sequences.tolist()} == set(range(period))


def test_a_sample_of_nothing_is_empty(browser):
    sequences, vectors = browser.sample_vectors(model_version="another", step=1)

    assert (sequences.shape, vectors.shape) == ((0,), (0, 0))


def test_an_erased_user_is_gone_from_every_answer(browser, store):
    store.erase("ann")

    assert browser.user("ann", model_version=VERSION) is None
    assert _ids(browser.sample(model_version=VERSION, step=1)) == ["Ann", "ann-2", "bea"]
    assert browser.num_users() == 4


@pytest.mark.parametrize(
    ("count", "limit", "step"), [(0, 10, 1), (10, 10, 1), (11, 10, 2), (100_000, 10_000, 16)]
)
def test_the_step_is_the_smallest_power_of_two_that_fits(count, limit, step):
    assert step_for(count, limit) == step


def test_a_sample_of_at_least_one_is_asked_for():
    with pytest.raises(ValueError, match="limit"):
        step_for(10, 0)


def test_a_database_opened_for_reading_refuses_to_be_written(browser, database_url):
    reading = Database(database_url, read_only=True)
    try:
        assert Browser(reading).num_users() == 5
        put = SignatureStore(reading).put
        with pytest.raises((StorageUnavailable, DBAPIError)):
            put(Signature("ann", VERSION, 1, _vector(5)))
    finally:
        reading.dispose()

    assert SignatureStore(browser.database).get("ann", VERSION).vector[1] == 1


def test_most_choices_counts_those_stored_and_not_the_revision(browser):
    with browser.database.writing() as session:
        session.execute(update(UserRow).where(UserRow.user_id == "ann-2").values(revision=9))

    assert _ids(browser.users(model_version=VERSION, order=Order.CHOICES))[0] == "bea"
