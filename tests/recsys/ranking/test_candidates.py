"""The rules for a request."""

from dataclasses import replace

import pytest

from recsys.errors import InvalidRequest
from recsys.ranking.candidates import Candidate, check_request

GOOD = Candidate("a", "a cat", image=b"...")


@pytest.mark.parametrize(
    ("user_id", "candidates", "field", "message"),
    [
        ("", [GOOD], "user_id", "1 to 256 characters, got 0"),
        ("u" * 1000, [GOOD], "user_id", "1 to 256 characters, got 1000"),
        ("a\0b", [GOOD], "user_id", "NUL"),
        ("a\nb", [GOOD], "user_id", "control characters"),
        ("\ud800", [GOOD], "user_id", "surrogate"),
        ("ann", [], "candidates", "1 to 256, got 0"),
        ("ann", [replace(GOOD, id=str(n)) for n in range(257)], "candidates", "got 257"),
        ("ann", [GOOD, replace(GOOD, id="")], "candidates[1].id", "got 0"),
        ("ann", [replace(GOOD, id="i" * 257)], "candidates[0].id", "got 257"),
        ("ann", [GOOD, replace(GOOD, id="b"), GOOD], "candidates[2].id", "of candidates[0] again"),
        ("ann", [replace(GOOD, prompt="p" * 10_001)], "candidates[0].prompt", "got 10001"),
        ("ann", [replace(GOOD, prompt="a\0b")], "candidates[0].prompt", "NUL"),
        ("ann", [replace(GOOD, prompt="\udcff")], "candidates[0].prompt", "surrogate"),
        ("ann", [replace(GOOD, image=None)], "candidates[0].image", "got neither"),
        (
            "ann",
            [replace(GOOD, sha256="0" * 64)],
            "candidates[0].image",
            "data and sha256, got both",
        ),
        (
            "ann",
            [replace(GOOD, image=None, sha256="../../etc/passwd")],
            "candidates[0].image.sha256",
            "64 lower-case hex",
        ),
        (
            "ann",
            [replace(GOOD, image=None, sha256="A" * 64)],
            "candidates[0].image.sha256",
            "64 lower-case hex",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_request_that_breaks_a_rule_names_its_field(
    user_id: str, candidates: list[Candidate], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_request(user_id, candidates)
    assert refused.value.field == field
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "candidate",
    [replace(GOOD, prompt="p" * 10_000), replace(GOOD, prompt="🐕\n"), replace(GOOD, id="i" * 256)],
)
def test_a_request_at_the_limits_is_fine(candidate: Candidate) -> None:
    check_request("u" * 256, [candidate, *(replace(GOOD, id=str(n)) for n in range(255))])


def test_a_candidate_prints_without_its_bytes() -> None:
    assert "image" not in repr(GOOD)
