"""What ids, prompts and choices must be like; what is allowed comes back from both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from storage.errors import InvalidRecord, StorageError
from storage.rules import check_choice, check_chosen_at, check_user_id

LAST_WEST = timezone(-timedelta(hours=23, minutes=59))
ALLOWED_PROMPTS = [
    "",
    "a" * 10_000,
    "😀" * 10_000,
    "a\r\n\tb\x01\x7f",
    "\u202e\ufeff\u200b",
    " ' % ; \\ ",
]


@pytest.mark.parametrize(
    "user_id", ["a", " ", "a" * 256, "😀" * 256, "'; --", "%s :x {y}", "../.."]
)
def test_user_ids_that_are_allowed(store, choose, user_id: str) -> None:
    store.append(*choose(user_id=user_id, request_id=user_id[:128]))
    assert store.read(user_id).choices[0].choice.user_id == user_id
    assert store.append(*choose(user_id=user_id, request_id=user_id[:128])).repeated
    assert store.user_ids() == [user_id]
    assert store.erase(user_id).num_choices == 1


@pytest.mark.parametrize(
    ("user_id", "says"),
    [
        ("", "user_id must not be empty"),
        ("a" * 257, "1 to 256 characters, got 257"),
        ("a" * 1000, "1 to 256 characters, got 1000"),
        ("a\x00b", "NUL"),
        ("a\nb", "control characters"),
        ("\x7f", "control characters"),
        ("\x85", "control characters"),
        ("\ud83d", "surrogate"),
    ],
)
def test_user_ids_that_are_refused(store, choose, user_id: str, says: str) -> None:
    for ask in (
        lambda: store.append(*choose(user_id=user_id)),
        lambda: store.read(user_id),
        lambda: store.revision(user_id),
        lambda: store.user(user_id),
        lambda: store.list_choices(user_id, limit=1),
        lambda: store.erase(user_id),
    ):
        with pytest.raises(InvalidRecord, match=says):
            ask()
    assert store.user_ids() == []


@pytest.mark.parametrize("prompt", ALLOWED_PROMPTS, ids=range(len(ALLOWED_PROMPTS)))
def test_prompts_that_are_allowed(store, choose, prompt: str) -> None:
    store.append(*choose(prompt=prompt))
    assert store.read("ann").choices[0].choice.prompt == prompt


def test_two_request_ids_that_differ_in_case_are_two(store, choose) -> None:
    for request_id in ("r", "R", "r ", "ŕ", "r\u0301"):
        assert not store.append(*choose(request_id=request_id)).repeated


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"prompt": "a" * 10_001}, "prompt must be 0 to 10000 characters, got 10001"),
        ({"prompt": "a\x00"}, "prompt must hold no NUL"),
        ({"prompt": "\udc00"}, "prompt must be valid Unicode"),
        ({"request_id": ""}, "request_id must not be empty"),
        ({"request_id": "a" * 129}, "request_id must be 1 to 128"),
        ({"request_id": "\x00"}, "request_id must hold no NUL"),
        ({"request_id": "\ud800"}, "request_id must be valid Unicode"),
        ({"source": ""}, "source must not be empty"),
        ({"source": "a" * 65}, "source must be 1 to 64"),
        ({"liked": None, "passed_over": ()}, "must name an image"),
        ({"liked": "b", "passed_over": ("b",)}, "each image once"),
        ({"passed_over": ("b", "c", "b")}, "each image once"),
        ({"chosen_at": datetime(2026, 1, 1)}, "time zone"),
        ({"chosen_at": datetime.min.replace(tzinfo=UTC)}, "years 2 to 9998, got 1"),
        ({"chosen_at": datetime.max.replace(tzinfo=LAST_WEST)}, "years 2 to 9998, got 9999"),
        ({"chosen_at": datetime(2350, 1, 1, tzinfo=UTC)}, "at most a day ahead of now, 2"),
    ],
)
def test_choices_that_are_refused(store, choose, more: dict, says: str) -> None:
    choice, images = choose(**more)
    with pytest.raises(InvalidRecord, match=says):
        store.append(choice, images)
    assert store.user_ids() == []


def test_clocks_may_differ_by_a_day() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    east = timezone(timedelta(hours=14))
    check_chosen_at((now + timedelta(days=1)).astimezone(east), now=now)
    with pytest.raises(InvalidRecord, match=r"2026-03-01T12:00:00\+00:00, got 2026-03-03T02:00:01"):
        check_chosen_at((now + timedelta(days=1, seconds=1)).astimezone(east), now=now)


@pytest.mark.parametrize("image", ["", "a" * 63, "A" * 64, "../.." + "a" * 59, "a" * 64 + "\n"])
def test_images_are_named_by_digests(choose, image: str) -> None:
    choice, _ = choose()
    for wrong in (replace(choice, liked=image), replace(choice, passed_over=(image,))):
        with pytest.raises(InvalidRecord, match="64 lower-case hex digits"):
            check_choice(wrong)


def test_a_refusal_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="must not be empty") as refused:
        check_user_id("")
    assert isinstance(refused.value, StorageError)
