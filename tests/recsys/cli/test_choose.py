"""`recsys choose`."""

import hashlib
import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def pictures(home: Path, picture) -> None:
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (home / name).write_bytes(picture(seed))


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_choice_is_stored_with_its_images(home: Path, run, store) -> None:
    result = run(
        *("choose", "--user", "ann", "--liked", "a.png", "--passed-over", "b.png"),
        *("--passed-over", "c.png", "--prompt", "a hat 😀", "--json"),
    )
    assert result.exit_code == 0
    (stored,) = store.read("ann").choices
    assert json.loads(result.stdout) == {
        "user_id": "ann",
        "choice_id": stored.choice_id,
        "revision": 1,
        "repeated": False,
    }
    assert stored.choice.liked == sha(home / "a.png")
    assert stored.choice.passed_over == (sha(home / "b.png"), sha(home / "c.png"))
    assert stored.choice.prompt == "a hat 😀"
    assert stored.choice.source == "cli"
    assert store.image(sha(home / "c.png")) == (home / "c.png").read_bytes()


def test_the_first_choice_makes_the_database(home: Path, run) -> None:
    assert not (home / "data").exists()
    result = run("choose", "--user", "ann", "--liked", "a.png")
    assert result.exit_code == 0
    assert "of ann is stored, at revision 1" in result.stdout
    assert (home / "data" / "recsys" / "recsys.db").exists()


def test_the_same_request_is_stored_once(run, store) -> None:
    arguments = ["choose", "--user", "ann", "--passed-over", "a.png", "--request-id", "r1"]
    assert run(*arguments).exit_code == 0
    again = run(*arguments)
    assert again.exit_code == 0
    assert "was stored already" in again.stdout
    assert store.revision("ann") == 1


def test_a_stored_image_can_be_named_by_its_digest(home: Path, run, store) -> None:
    run("choose", "--user", "ann", "--liked", "a.png")
    result = run("choose", "--user", "bob", "--passed-over", sha(home / "a.png"))
    assert result.exit_code == 0
    assert store.read("bob").choices[0].choice.passed_over == (sha(home / "a.png"),)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--user", "ann"], 2, "a choice needs an image"),
        (["--liked", "a.png"], 2, "--user"),
        (["--user", "ann", "--liked", "none.png"], 3, "none.png"),
        (["--user", "ann", "--liked", "ab" * 32], 3, "ab" * 32),
        (["--user", "ann", "--liked", "text.png"], 2, "text.png: image must be a PNG"),
        (["--user", "ann", "--liked", "huge.png"], 2, "50,000 × 50,000"),
        (["--user", "ann", "--liked", "a.png", "--passed-over", "a.png"], 2, "twice"),
        (["--user", "u" * 1000, "--liked", "a.png"], 2, "256"),
        (["--user", "a\nb", "--liked", "a.png"], 2, "control"),
        (["--user", "", "--liked", "a.png"], 2, "user"),
        (["--user", "ann", "--liked", "a.png", "--prompt", "x" * 10_001], 2, "prompt"),
        (["--user", "ann", "--liked", "a.png", "--request-id", "r" * 129], 2, "request_id"),
    ],
)
def test_a_bad_choice_is_refused_and_nothing_is_stored(
    home: Path, run, store, arguments: list[str], code: int, says: str
) -> None:
    (home / "text.png").write_text("I am a picture, honestly.")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xc3\x50\0\0\xc3\x50\x08\x02\0\0\0\0\0\0\0"
    (home / "huge.png").write_bytes(header)
    result = run("choose", *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert result.stdout == ""
    assert store.user_ids() == []


def test_two_files_of_the_same_bytes_are_refused(home: Path, run, store) -> None:
    (home / "same.png").write_bytes((home / "a.png").read_bytes())
    result = run("choose", "--user", "ann", "--liked", "a.png", "--passed-over", "same.png")
    assert result.exit_code == 2
    assert store.revision("ann") == 0
