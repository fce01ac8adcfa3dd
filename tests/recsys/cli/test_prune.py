"""`recsys prune`."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from recsys.image_tokens.folder import TokenFolder
from storage.takedowns import ImageTakedowns


@pytest.fixture(autouse=True)
def ann(home: Path, run, picture) -> None:
    """A user with three choices of now."""
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (home / name).write_bytes(picture(seed))
        run("choose", "--user", "ann", "--liked", name)


def test_the_newest_are_kept_and_it_is_told_how_much_went(run, store) -> None:
    doomed = json.loads(run("prune", "--keep-newest", "1", "--dry-run", "--json").stdout)
    assert doomed == {"num_choices": 2, "num_users": 1, "num_orphans": 0, "num_takedowns": 0}
    assert store.user("ann").num_choices == 3
    pruned = json.loads(run("prune", "--keep-newest", "1", "--yes", "--json").stdout)
    assert (pruned["num_choices"], pruned["num_emptied"], pruned["num_images"]) == (2, 0, 2)
    assert (pruned["num_orphans"], pruned["num_takedowns"]) == (0, 0)
    assert store.user("ann").num_choices == 1
    table = run("prune", "--older-than", "365d", "--yes")
    assert table.exit_code == 0
    assert "orphaned files" in table.stdout
    assert store.user("ann").num_choices == 1


def test_image_tokens_go_with_pruned_images(
    home: Path, run, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_IMAGE_TOKENS_FOLDER", str(home / "tokens"))
    tokens = TokenFolder(home / "tokens", "v")
    images = [stored.choice.liked for stored in store.read("ann").choices]
    for image in images:
        tokens.write(image, torch.zeros(2, 2))
    assert run("prune", "--keep-newest", "1", "--yes").exit_code == 0
    assert [image in tokens for image in images] == [False, False, True]


def test_the_settings_say_what_is_kept(run, store, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("prune", "--yes")
    assert refused.exit_code == 2
    assert "retention_days" in refused.stderr
    monkeypatch.setenv("RECSYS_RETENTION_CHOICES", "2")
    monkeypatch.setenv("RECSYS_RETENTION_DAYS", "30")
    assert run("prune", "--yes").exit_code == 0
    assert store.user("ann").num_choices == 2


def test_orphans_alone(home: Path, run, store) -> None:
    blob = next(path for path in home.rglob("*") if path.is_file() and len(path.name) == 64)
    orphan = blob.parents[1] / "00" / ("0" * 64)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by a process that was killed")
    os.utime(orphan, (0, 0))
    counted = run("prune", "--orphans", "--dry-run", "--json")
    assert json.loads(counted.stdout) == {"num_orphans": 1, "num_takedowns": 0}
    assert orphan.exists()
    assert run("prune", "--orphans", input="n\n").exit_code == 1
    assert json.loads(run("prune", "--orphans", "--yes", "--json").stdout)["num_orphans"] == 1
    assert not orphan.exists()
    assert blob.exists()
    assert store.user("ann").num_choices == 3
    assert run("prune", "--orphans", "--keep-newest", "1").exit_code == 2


@pytest.mark.parametrize("how", [["--orphans"], ["--keep-newest", "9"]])
def test_a_takedown_that_was_interrupted_is_finished(run, store, picture, how: list[str]) -> None:
    image = hashlib.sha256(picture(0)).hexdigest()
    takedowns = ImageTakedowns(store.database, store.blobs)
    takedowns.record_block(image)  # and its process is killed

    (blocked,) = json.loads(run("images", "blocked", "--json").stdout)
    assert blocked["is_unfinished"]
    assert "unfinished" in run("images", "blocked").stdout
    counted = json.loads(run("prune", *how, "--dry-run", "--json").stdout)
    assert counted["num_takedowns"] == 1
    assert takedowns.unfinished() == [image]

    pruned = json.loads(run("prune", *how, "--yes", "--json").stdout)
    assert pruned["num_takedowns"] == 1
    assert takedowns.unfinished() == []
    assert store.user("ann").num_choices == 2
    assert not store.blobs.exists(image)
    (blocked,) = json.loads(run("images", "blocked", "--json").stdout)
    assert not blocked["is_unfinished"]


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_a_yes_nothing_goes(run, store, answer: str) -> None:
    result = run("prune", "--keep-newest", "1", input=answer)
    assert result.exit_code == 1
    assert (
        "Remove 2 choices of 1 user and 0 orphaned files, and finish 0 takedowns?" in result.stderr
    )
    assert store.user("ann").num_choices == 3
    assert run("prune", "--keep-newest", "1", input="y\n").exit_code == 0


@pytest.mark.parametrize("days", ["0", "-3d", "1y", "d", "1.5d"])
def test_an_age_is_whole_days(run, days: str) -> None:
    assert run("prune", f"--older-than={days}").exit_code == 2
