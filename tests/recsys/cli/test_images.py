"""`recsys images`."""

import hashlib
import json
from pathlib import Path

import pytest

from storage.records import SharingRules
from storage.sharing import ImageSharing
from storage.takedowns import ImageTakedowns

FILES = ("a.png", "b.png")


@pytest.fixture
def sha(home: Path, run, picture) -> str:
    """The image a.png, which ann liked and bob passed over."""
    for seed, name in enumerate(["a.png", "b.png"]):
        (home / name).write_bytes(picture(seed))
    run("choose", "--user", "ann", "--liked", "a.png", "--passed-over", "b.png")
    run("choose", "--user", "bob", "--liked", "b.png", "--passed-over", "a.png")
    return hashlib.sha256(picture(0)).hexdigest()


@pytest.mark.parametrize("named", ["file", "digest"])
def test_remove_tells_what_went(run, store, sha: str, named: str) -> None:
    name = "a.png" if named == "file" else sha
    removed = json.loads(run("images", "remove", name, "--yes", "--json").stdout)
    assert removed.pop("num_bytes") > 0
    assert removed == {
        "sha256": sha,
        "is_blocked": False,
        "num_choices": 1,
        "num_shortened": 1,
        "num_images": 1,
        "rewritten_exports": [],
        "remnants": [],
    }
    assert [store.user(user).num_choices for user in ("ann", "bob")] == [0, 1]
    again = run("images", "remove", sha, "--yes")
    assert again.exit_code == 3
    assert "nothing to remove" in again.stderr
    assert run("choose", "--user", "ann", "--liked", "a.png").exit_code == 0


@pytest.mark.parametrize("verb", ["remove", "block"])
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_a_yes_nothing_is_removed(run, store, sha: str, verb: str, answer: str) -> None:
    result = run("images", verb, sha, input=answer)
    assert result.exit_code == 1
    assert "nothing was removed" in result.stderr
    assert store.image(sha)
    assert json.loads(run("images", "blocked", "--json").stdout) == []


def test_a_blocked_image_is_refused_until_it_is_unblocked(
    run, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "an operator")
    result = run("images", "block", "a.png", "--reason", "a face", input="y\n")
    assert result.exit_code == 0
    assert f"image {sha} is removed and blocked: 1 choice and 1 image (" in result.stdout
    assert "it was taken out of 1 other choice\n" in result.stdout
    refused = run("choose", "--user", "ann", "--liked", "a.png")
    assert refused.exit_code == 1
    assert "taken down" in refused.stderr
    (blocked,) = json.loads(run("images", "blocked", "--json").stdout)
    assert (blocked["sha256"], blocked["blocked_by"], blocked["reason"]) == (
        sha,
        "an operator",
        "a face",
    )
    table = run("images", "blocked").stdout
    assert sha in table
    assert "a face" in table
    assert "by an operator, may be stored again" in run("images", "unblock", sha).stdout
    assert run("choose", "--user", "ann", "--liked", "a.png").exit_code == 0
    assert run("images", "unblock", "a.png").exit_code == 3


def test_unblocked_half_way_it_says_that_the_image_is_in_use_again(
    run, store, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in ("cyd", "dan"):
        run("choose", "--user", user, "--liked", "a.png")
    takedowns = ImageTakedowns(store.database, store.blobs)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("storage.takedowns.CHOICES_AT_ONCE", 1)
        patch.setattr("storage.takedowns.remove_blobs", end)
        with pytest.raises(KeyboardInterrupt):
            takedowns.block(sha)
    unblocked = run("images", "unblock", sha)
    assert unblocked.exit_code == 0
    assert f"in use again: to remove it, run recsys images remove {sha}" in unblocked.stderr
    assert run("images", "remove", sha, "--yes").exit_code == 0
    run("images", "block", sha, "--yes")
    assert run("images", "unblock", sha).stderr == ""


def test_an_image_is_blocked_before_anything_is_stored(home: Path, run, picture) -> None:
    (home / "a.png").write_bytes(picture(0))
    result = run("images", "block", "a.png", "--yes", "--by", "a clerk", "--json")
    assert json.loads(result.stdout)["num_images"] == 0
    unblocked = json.loads(run("images", "unblock", "a.png", "--json").stdout)
    assert unblocked["blocked_by"] == "a clerk"


@pytest.mark.parametrize("verb", [["remove"], ["block"], ["unblock"]])
@pytest.mark.parametrize("name", ["nowhere.png", "ab", "."])
def test_what_names_no_image_is_not_found(run, sha: str, verb: list[str], name: str) -> None:
    result = run("images", *verb, name)
    assert result.exit_code == 3
    assert "give an image file or a stored image's SHA-256" in result.stderr


@pytest.mark.parametrize("call", [["remove", "ab" * 32], ["unblock", "ab" * 32], ["blocked"]])
def test_before_anything_is_stored_nothing_is_created(home: Path, run, call: list[str]) -> None:
    result = run("images", *call)
    assert result.exit_code == 3
    assert "nothing is stored yet" in result.stderr
    assert list(home.iterdir()) == []


def test_by_is_not_for_a_server(run, sha: str) -> None:
    result = run("images", "block", sha, "--yes", "--by", "a clerk", "--server", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "--by cannot go with --server" in result.stderr


@pytest.mark.parametrize("call", [["remove", "--yes"], ["block", "--yes"], ["unblock"], []])
def test_a_server_that_is_not_there_is_told(run, sha: str, call: list[str]) -> None:
    words = [call[0], sha, *call[1:]] if call else ["blocked"]
    result = run("--set", "timeout_s=1", "images", *words, "--server", "127.0.0.1:1")
    assert result.exit_code == 4
    assert "127.0.0.1:1 does not answer" in result.stderr


def test_marks_are_set_and_taken(home: Path, run, store, sha: str) -> None:
    def shown() -> int:
        names = [hashlib.sha256((home / name).read_bytes()).hexdigest() for name in FILES]
        return len(ImageSharing(store.database).shown_among(names, SharingRules(2)))

    assert shown() == 0
    assert run("images", "share", "a.png").stdout == "1 image is marked as shareable\n"
    assert shown() == 1
    assert run("images", "share", "--all").stdout == "1 image is marked as shareable\n"
    assert shown() == 2
    unshared = run("images", "unshare", sha, "b.png").stdout
    assert unshared == "2 images are no longer marked as shareable\n"
    assert shown() == 0
    command = ["choose", "--user", "cyd", "--liked", "a.png", "--passed-over", "b.png"]
    assert run(*command, "--shareable").exit_code == 0
    assert shown() == 2


@pytest.mark.parametrize("verb", ["share", "unshare"])
@pytest.mark.parametrize("images", [[], ["a.png", "--all"]])
def test_images_are_named_or_all_are_meant(run, sha: str, verb: str, images: list[str]) -> None:
    result = run("images", verb, *images)
    assert result.exit_code == 2
    assert "pass IMAGE... or --all" in result.stderr


def test_an_image_that_is_not_stored_has_no_mark(run, sha: str) -> None:
    result = run("images", "share", "ab" * 32)
    assert result.exit_code == 3
    assert "only stored ones have a mark" in result.stderr
