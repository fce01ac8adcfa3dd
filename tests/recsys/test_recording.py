"""A choice as a caller tells it becomes the choice and the images that storage takes."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recsys.errors import ImageRefused, InvalidRequest
from recsys.recording import NewChoice, check_new_choice
from storage.records import ImageFacts

NOW = datetime(2026, 5, 4, tzinfo=UTC)
STORED = "ab" * 32
NEW = NewChoice("ann", b"liked", (STORED, b"passed"), "a cat", request_id="r1")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def inspect(data):
    if data == b"no image":
        raise ImageRefused("image must be a PNG, got text")
    return ImageFacts(sha256(data), "image/png", 1, 1, len(data))


def check(new, **more):
    return check_new_choice(new, inspect, source="test", now=lambda: NOW, **more)


def test_images_are_named_by_digest_and_only_new_ones_come_along():
    choice, images = check(NEW)

    assert choice.liked == sha256(b"liked")
    assert choice.passed_over == (STORED, sha256(b"passed"))
    assert {name: data for name, (_, data) in images.items()} == {
        sha256(b"liked"): b"liked",
        sha256(b"passed"): b"passed",
    }
    assert (choice.user_id, choice.prompt, choice.source) == ("ann", "a cat", "test")
    assert choice.request_id == "r1"


def test_a_choice_without_a_time_is_of_now():
    earlier = datetime(2025, 1, 1, tzinfo=UTC)

    assert check(NEW)[0].chosen_at == NOW
    assert check(replace(NEW, chosen_at=earlier))[0].chosen_at == earlier


def test_an_image_that_is_refused_is_named_as_the_caller_knows_it():
    new = replace(NEW, passed_over=(b"passed", b"no image"))

    for names, shown in ((None, "passed_over[1]"), ({"passed_over[1]": "b.png"}, "b.png")):
        with pytest.raises(ImageRefused, match="must be a PNG") as refused:
            check(new, names=names)
        assert str(refused.value).startswith(f"{shown}: ")
        assert refused.value.field == "passed_over[1].data"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"prompt": "a\0"}, "prompt"),
        ({"request_id": "r" * 129}, "request_id"),
        ({"liked": None, "passed_over": ()}, "liked"),
        ({"liked": "AB" * 32}, "liked.sha256"),
        ({"passed_over": (b"liked",)}, "passed_over[0]"),
        ({"passed_over": (STORED, b"passed", STORED)}, "passed_over[2]"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(change, field):
    with pytest.raises(InvalidRequest) as refused:
        check(replace(NEW, **change))

    assert refused.value.field == field


def test_the_number_of_images_is_limited_where_a_limit_is_given():
    new = replace(NEW, passed_over=(b"1", b"2", b"3"))

    assert len(check(new)[0].passed_over) == 3
    assert len(check(new, max_passed_over=3)[0].passed_over) == 3
    with pytest.raises(InvalidRequest, match="at most 2, got 3"):
        check(new, max_passed_over=2)
