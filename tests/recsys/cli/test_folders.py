"""`recsys folders`."""

import json
from pathlib import Path

import pytest

from storage.clusters.exports import ClusterExportStore
from storage.histories import HistoryStore
from storage.trainings import TrainingStore


@pytest.fixture
def folders(store: HistoryStore, home: Path) -> None:
    """A training on this machine, and an export in two formats that is not there any more."""
    (home / "run").mkdir()
    TrainingStore(store.database).record(str(home / "run"))
    for format in ("parquet", "csv"):
        ClusterExportStore(store.database).record(1, str(home / "clusters"), format)


@pytest.mark.usefixtures("folders")
def test_they_are_listed_with_whether_they_are_here(run, home: Path) -> None:
    shown = json.loads(run("folders", "list", "--json").stdout)
    assert [(each["folder"], each["kind"], each["is_here"]) for each in shown] == [
        (str(home / "run"), "training", True),
        (str(home / "clusters"), "parquet export", False),
        (str(home / "clusters"), "csv export", False),
    ]
    plain = run("folders", "list").stdout
    assert "training" in plain
    assert "csv export" in plain


@pytest.mark.usefixtures("folders")
def test_one_that_is_forgotten_is_not_named_by_an_erasure(run, home: Path, picture) -> None:
    (home / "a.png").write_bytes(picture(0))
    forgotten = run("folders", "forget", "clusters")
    assert (forgotten.exit_code, forgotten.stdout) == (0, f"{home / 'clusters'} is forgotten\n")
    assert [each["folder"] for each in json.loads(run("folders", "list", "--json").stdout)] == [
        str(home / "run")
    ]
    assert run("folders", "forget", "run").exit_code == 0
    run("choose", "--user", "ann", "--liked", "a.png")
    run("users", "erase", "ann", "--yes")
    assert run("users", "erase", "ann", "--yes").stderr.count("still holds") == 0
    assert (home / "run").is_dir()
    again = run("folders", "forget", "run")
    assert again.exit_code == 3
    assert "recsys folders list" in again.stderr
