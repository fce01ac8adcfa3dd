"""A number with its noun."""

import pytest

from recsys.counts import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 choices"), (1, "1 choice"), (2, "2 choices"), (2000, "2,000 choices")],
)
def test_one_has_the_singular_and_any_other_number_the_plural(number: int, text: str) -> None:
    assert counted(number, "choice") == text


def test_a_plural_can_be_named() -> None:
    assert counted(1, "person", "people") == "1 person"
    assert counted(0, "person", "people") == "0 people"
