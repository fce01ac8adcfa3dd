"""Append choices and read them back, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import event

from storage.errors import InvalidRecord, UnknownImage, UnknownUser
from storage.records import Choice, History, StoredChoice, UserSummary
from storage.tables import UserRow


def test_a_choice_comes_back_as_it_was(store, choose, an_image, whole) -> None:
    choice, images = choose(
        user_id="ann 😀",
        passed_over=("b", "c", "0"),
        prompt="Zwölf 🦊\n\ton a hill\u202e" + "x" * 100,
        request_id="r/1",
        source="import:pairs",
    )
    before = datetime.now(UTC)
    answer = store.append(choice, images)
    assert not answer.repeated
    assert answer.stored.revision == 1
    assert answer.stored.choice == choice
    history = store.read("ann 😀")
    assert history == History("ann 😀", 1, (answer.stored,))
    # The order in which images were passed over is kept.
    assert history.choices[0].choice.passed_over == choice.passed_over
    assert store.image(choice.liked) == an_image("a")[1]
    assert store.image_facts(choice.passed_over[1]) == an_image("c")[0]
    with store.database.session() as session:
        assert before <= session.get(UserRow, "ann 😀").created_at <= datetime.now(UTC)
    whole(store)


@pytest.mark.parametrize(("liked", "passed_over"), [("a", ()), (None, ("a",)), (None, ("a", "b"))])
def test_only_likes_and_only_dislikes_are_kept(store, choose, liked, passed_over) -> None:
    choice, images = choose(liked=liked, passed_over=passed_over)
    store.append(choice, images)
    assert [stored.choice for stored in store.read("ann").choices] == [choice]
    assert store.user("ann").num_pairs == 0


def test_instants_come_back_in_utc(store, choose) -> None:
    chosen_at = datetime(2026, 3, 1, 0, 30, 0, 123456, timezone(timedelta(hours=5, minutes=45)))
    choice, images = choose(chosen_at=chosen_at)
    store.append(choice, images)
    instant = store.read("ann").choices[0].choice.chosen_at
    assert instant == chosen_at
    assert instant.utcoffset() == timedelta(0)
    summary = store.user("ann")
    assert summary.created_at.utcoffset() == timedelta(0)
    assert summary.last_choice_at == chosen_at
    assert summary.last_choice_at.utcoffset() == timedelta(0)
    assert abs(summary.created_at - datetime.now(UTC)) < timedelta(hours=1)


@pytest.mark.parametrize("year", [2, 1969, 2026])
def test_instants_of_all_past_years_come_back(store, choose, year: int) -> None:
    chosen_at = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=-12)))
    store.append(*choose(chosen_at=chosen_at))
    assert store.read("ann").choices[0].choice.chosen_at == chosen_at


def test_nobody_has_an_empty_history(store, choose) -> None:
    store.append(*choose())
    assert store.read("bob") == History("bob", 0, ())
    assert store.revision("bob") == 0
    for ask in (store.user, store.erase, lambda user: store.list_choices(user, limit=1)):
        with pytest.raises(UnknownUser, match="'bob'"):
            ask("bob")
    assert store.user_ids() == ["ann"]


def test_the_newest_are_read_oldest_first(store, choose) -> None:
    # Later choices with earlier times: the order is that of storing.
    items = [
        choose(liked=str(number), chosen_at=datetime(2026, 1, 20 - number, tzinfo=UTC))
        for number in range(10)
    ]
    ids = [answer.stored.choice_id for answer in store.append_many(items)]
    assert ids == sorted(ids)
    everything = store.read("ann")
    assert [stored.choice for stored in everything.choices] == [choice for choice, _ in items]
    for limit in (1, 3, 10, 11):
        assert store.read("ann", limit=limit).choices == everything.choices[-limit:]
        assert store.read("ann", limit=limit).revision == 10
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit must be at least 1"):
            store.read("ann", limit=limit)
        with pytest.raises(ValueError, match="limit must be at least 1"):
            store.list_choices("ann", limit=limit)


def test_pages_hold_each_choice_once(store, choose) -> None:
    # Users are mixed, so that neighbours in one history are not neighbours in the table.
    users = ["ann", "bob"] * 7
    store.append_many([choose(user_id=user, liked=str(n)) for n, user in enumerate(users)])
    pages: list[list[StoredChoice]] = []
    after = 0
    while page := store.list_choices("ann", after_choice_id=after, limit=3):
        pages.append(page)
        after = page[-1].choice_id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert tuple(stored for page in pages for stored in page) == store.read("ann").choices


@pytest.mark.parametrize("after", [-1, -(2**80), 2**63 - 1, 2**63, 2**80])
def test_pages_behind_any_number(store, choose, after: int) -> None:
    store.append(*choose())
    page = store.list_choices("ann", after_choice_id=after, limit=5)
    assert len(page) == (after < 0)


def test_pages_of_any_size(store, choose) -> None:
    store.append(*choose())
    for limit in (2**31, 2**63, 2**80):
        assert len(store.read("ann", limit=limit).choices) == 1
        assert len(store.list_choices("ann", limit=limit)) == 1
        assert store.user_ids(limit=limit) == ["ann"]


def test_a_page_token_of_another_user_hides_nothing_earlier(store, choose) -> None:
    answers = store.append_many([choose(user_id=user) for user in ("ann", "bob", "ann", "ann")])
    page = store.list_choices("ann", after_choice_id=answers[1].stored.choice_id, limit=9)
    assert [stored.revision for stored in page] == [2, 3]


def test_pages_of_user_ids(store, choose) -> None:
    users = [f"user {number:02}" for number in range(7)]
    store.append_many([choose(user_id=user) for user in users[::-1]])
    assert store.user_ids(limit=3) == users[:3]
    assert store.user_ids(after=users[2], limit=3) == users[3:6]
    assert store.user_ids(after=users[6]) == []


def test_a_summary_counts(store, choose) -> None:
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 9, 5)]
    items = [
        choose(liked="a", passed_over=("b", "c"), chosen_at=times[0]),
        choose(liked=None, passed_over=("d",), chosen_at=times[1]),
        choose(liked="e", passed_over=(), chosen_at=times[2]),
    ]
    store.append_many([*items, choose(user_id="bob")])
    summary = store.user("ann")
    assert summary == UserSummary("ann", 3, 3, 2, summary.created_at, times[1])


def test_a_repeat_gets_the_first_answer(store, choose, files_of) -> None:
    first = store.append(*choose(request_id="r"))
    again = store.append(*choose(liked="other", passed_over=("b", "more"), request_id="r"))
    assert again.stored == first.stored
    assert (first.repeated, again.repeated) == (False, True)
    assert store.revision("ann") == 1
    assert len(files_of(store)) == 2
    # A request belongs to its user, and none at all is never a repeat.
    others = [choose(user_id="bob", request_id="r"), choose(), choose()]
    assert [store.append(*item).repeated for item in others] == [False] * 3


def test_repeats_within_and_across_batches(store, choose, whole) -> None:
    first = store.append(*choose(request_id="r0"))
    items = [
        choose(liked="b1", passed_over=(), request_id="r1"),
        choose(liked="b2", passed_over=(), request_id="r0"),
        choose(liked="b3", passed_over=(), request_id="r1"),
        choose(liked="b4", passed_over=(), user_id="bob", request_id="r1"),
        choose(liked="b5", passed_over=()),
    ]
    answers = store.append_many(items)
    assert [answer.repeated for answer in answers] == [False, True, True, False, False]
    assert answers[1].stored == first.stored
    assert answers[2].stored == answers[0].stored
    assert [answer.stored.revision for answer in answers] == [2, 1, 2, 1, 3]
    assert {user: len(choices) for user, choices in whole(store).items()} == {"ann": 3, "bob": 1}
    assert [answer.repeated for answer in store.append_many(items)] == [True] * 4 + [False]


def test_nothing_to_append_is_fine(store) -> None:
    assert store.append_many([]) == []
    assert store.user_ids() == []


def test_a_large_batch_over_many_users_and_images(store, choose, whole) -> None:
    """Past every limit on values in one statement."""
    items = [
        choose(
            user_id=f"user {number % 701}",
            liked=f"a{number}",
            passed_over=(f"b{number % 97}", f"c{number}"),
            request_id=str(number),
        )
        for number in range(1500)
    ]
    answers = store.append_many(items)
    assert [answer.stored.choice for answer in answers] == [choice for choice, _ in items]
    assert [answer.stored for answer in store.append_many(items)] == [
        answer.stored for answer in answers
    ]
    assert sum(len(choices) for choices in whole(store).values()) == 1500


def test_a_larger_batch_needs_no_more_statements(store, choose) -> None:
    seen: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *a: seen.append(a[2]))

    def statements(num_users: int) -> int:
        names = [f"{num_users} {number}" for number in range(num_users)]
        seen.clear()
        store.append_many([choose(user_id=name, liked=name) for name in names])
        # SQLite is given its rows one by one, without a way to a server between them.
        return len([text for text in seen if not text.startswith("INSERT INTO choices")])

    assert statements(150) == statements(5)


def test_a_long_history_is_read_whole(store, choose) -> None:
    items = [choose(liked=None, passed_over=("b", f"c{number % 7}")) for number in range(1203)]
    store.append_many(items)
    assert [stored.choice for stored in store.read("ann").choices] == [each for each, _ in items]


def test_one_bad_choice_stops_the_whole_batch(store, choose, whole) -> None:
    store.append(*choose())
    before = whole(store)
    good = choose(user_id="bob", liked="new", passed_over=("newer",))
    nobody = choose(user_id="\x07")
    unknown = (choose(liked="nowhere")[0], {})
    with pytest.raises(InvalidRecord, match="control characters"):
        store.append_many([good, nobody, good])
    with pytest.raises(UnknownImage, match=unknown[0].liked):
        store.append_many([good, unknown, good])
    assert store.user_ids() == ["ann"]
    assert store.read("bob").revision == 0
    # Bytes may stay behind, for the next append of the same image takes them up again.
    store.append_many([good])
    assert whole(store) == before | {"bob": [good[0]]}


def test_images_are_those_that_their_facts_tell(store, choose, an_image) -> None:
    choice, images = choose(passed_over=())
    facts, data = an_image("a")
    other, _ = an_image("other")
    longer = type(facts)(facts.sha256, facts.media_type, 4, 3, facts.num_bytes + 1)
    for wrong in ((facts, b"image b"), (other, data), (longer, data)):
        with pytest.raises(InvalidRecord, match=facts.sha256):
            store.append(choice, {choice.liked: wrong})
    assert store.user_ids() == []
    with pytest.raises(UnknownImage):
        store.image(facts.sha256)
    store.append(choice, images)


def test_a_stored_image_needs_no_bytes_again(store, choose, whole) -> None:
    store.append(*choose(liked="a", passed_over=("b",)))
    choice, _ = choose(user_id="bob", liked="b", passed_over=("a",))
    store.append(choice)
    assert whole(store)["bob"] == [choice]


def test_images_that_no_choice_names_are_not_stored(store, choose, files_of, digest) -> None:
    choice, images = choose(liked="a", passed_over=())
    store.append(choice, images | choose(liked="stray")[1])
    assert files_of(store) == [digest("a")]


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", "0" * 64, "A" * 64, "\x00", "é" * 64])
def test_images_that_are_not_there(store, sha256: str) -> None:
    for ask in (store.image, store.image_facts):
        with pytest.raises(UnknownImage):
            ask(sha256)


def test_records_are_frozen_values(choose) -> None:
    choice, _ = choose()
    assert choice == Choice(**{name: getattr(choice, name) for name in Choice.__slots__})
    assert len({choice, choose()[0]}) == 1
