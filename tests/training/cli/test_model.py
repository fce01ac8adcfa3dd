"""`recsys model`: the checkpoints there are, and one against another."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.cli.main import cli
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.trained_on import write_trained_on
from storage.histories import HistoryStore
from storage.trainings import TrainingStore
from training.data.samples import read_pair_table
from training.data.trained_on import trained_on
from training.evaluation.checkpoints import ask_checkpoints
from training.evaluation.four_ways import borrowed


@pytest.fixture
def store(tmp_path: Path, draw_world, open_store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    with open_store(draw_world(tmp_path, {1: 4, 2: 4, 3: 4}, num_prompts=8, size_px=16)) as store:
        yield store


def knowing(store: HistoryStore, folder: Path, world: str) -> Path:
    """A checkpoint that learned from the people of a world."""
    table = read_pair_table(store)
    pairs = {user: own for user, own in table.pairs.items() if user.startswith(world)}
    record = trained_on(type(table)(pairs, table.images), parts={}, key=None)
    write_trained_on(record, folder)
    return folder


def test_people_whom_either_knows_are_not_asked(store, save_small) -> None:
    first = knowing(store, save_small("first"), "s1-")
    second = knowing(store, save_small("second", seed=1), "s2-")
    compared = ask_checkpoints(first, second, store).compared()
    assert compared.is_certain
    assert compared.first == load_scorer(first).model_version
    assert {gain.gained.n_users for gain in compared.comparison.alone.by_references.values()} == {4}
    assert list(compared.comparison.alone.by_references) == [0, 1, 2]


def test_a_checkpoint_against_itself_gains_nothing_and_a_silent_one_is_told(
    store, save_small
) -> None:
    small = str(save_small("small"))
    result = CliRunner().invoke(cli, ["model", "compare", small, small])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("+0.0 (+0.0 to +0.0)") == 4
    assert "not both checkpoints tell whom they learned from" in result.stdout
    assert "the blends are not compared: that takes 100 other people" in result.stdout
    told = json.loads(CliRunner().invoke(cli, ["model", "compare", small, small, "--json"]).stdout)
    assert told["comparison"]["alone"]["mean"]["n_users"] == 12
    assert told["comparison"]["decided_by"] == "model"
    assert told["is_certain"] is False


def test_everybody_who_is_not_asked_lends_and_the_blends_are_compared(
    store, save_small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.checkpoints.ENOUGH_USERS", 8)
    first, second = (save_small(name, seed=seed) for name, seed in (("first", 0), ("second", 1)))
    command = ["model", "compare", str(first), str(second), "--only", "s3-*"]
    told = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert told["num_lenders"] == 8
    comparison = told["comparison"]
    assert comparison["decided_by"] == "blend"
    assert comparison["blended"]["over"] == [2]
    assert comparison["gain"]["n_users"] == 4
    assert list(comparison["best_possible"]) == ["0", "1", "2"]
    away = CliRunner().invoke(cli, ["--set", "cold_start=false", *command, "--json"])
    assert json.loads(away.stdout)["comparison"]["alone"] == comparison["alone"]
    assert json.loads(away.stdout)["comparison"]["decided_by"] == "model"
    shown = CliRunner().invoke(cli, command).stdout
    assert "the blends borrow from 8 other people" in shown


def test_whom_one_of_them_knows_does_not_decide_how_they_are_blended(
    store, save_small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all whom neither knows would be asked, some of them lend instead."""
    decided = []

    def watched(scorer, lent, features, *, may_judge):
        decided.append({user for user, may in zip(lent, may_judge, strict=True) if may})
        return borrowed(scorer, lent, features, may_judge=may_judge)

    monkeypatch.setattr("training.evaluation.checkpoints.borrowed", watched)
    for name, value in (("ENOUGH_USERS", 8), ("ENOUGH_JUDGES", 2), ("HELD_OUT", 0.5)):
        monkeypatch.setattr(f"training.evaluation.checkpoints.{name}", value)
    first = knowing(store, save_small("first"), "s1-")
    second = knowing(store, save_small("second", seed=1), "s2-")
    result = CliRunner().invoke(cli, ["model", "compare", str(first), str(second)])
    assert result.exit_code == 0, result.output
    one, other = decided
    assert one == other
    assert len(one) == 2
    assert all(user.startswith("s3-") for user in one)
    told = " ".join(result.stdout.split())
    assert "borrow from 10 other people; how much, 2 of them decide, whom neither" in told
    compared = ask_checkpoints(first, second, store).compared()
    assert compared.comparison.gain.n_users == 2


@pytest.mark.parametrize(
    "command",
    [["model", "compare", "tiny", "tiny"], ["adapt", "--out", "out"], ["evaluate", "tiny"]],
    ids=lambda command: command[0],
)
def test_a_file_of_truth_that_is_named_must_be_there(
    store, tmp_path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, [*command, "--truth", "truht.npz"])
    assert result.exit_code == 2
    assert "Invalid value for '--truth': File 'truht.npz' does not exist." in result.output


def test_where_everybody_is_known_it_says_so(store, save_small) -> None:
    small = knowing(store, save_small("small"), "s")
    result = CliRunner().invoke(cli, ["model", "compare", str(small), str(small)])
    assert result.exit_code == 1
    assert "import more choices" in result.output


def test_the_list_has_what_is_served_and_what_came_of_trainings(
    store, save_small, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = save_small("small")
    shutil.copytree(small, tmp_path / "run" / "final")
    gained = {"value": 0.05, "low": 0.01, "high": 0.09, "n_users": 8, "n_pairs": 64}
    figures = {"parent": {"model_version": "f" * 64}, "gain": gained}
    figures["privacy"] = {"epsilon": 3.99, "delta": 1e-4}
    (small / "adapted.json").write_text(json.dumps(figures))
    for folder in (small, tmp_path / "run", tmp_path / "gone"):
        TrainingStore(store.database).record(str(folder))
    found = json.loads(CliRunner().invoke(cli, ["model", "list", "--json"]).stdout)
    places = [each["checkpoint"] for each in found]
    assert places == ["tiny", str(small), str(tmp_path / "run" / "final")]
    assert [each["parent"] for each in found] == [None, "f" * 64, None]
    table = CliRunner().invoke(cli, ["model", "list"]).stdout
    assert "+5.0 (+1.0 to +9.0)" in table
    assert "(3.99, 0.0001)" in table
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(small))
    served = json.loads(CliRunner().invoke(cli, ["model", "list", "--json"]).stdout)
    assert [each["is_served"] for each in served] == [True, False]


def test_what_cannot_be_read_is_told_beside_the_others(store, save_small) -> None:
    small, other = save_small("small"), save_small("other", seed=1)
    (small / "adapted.json").write_text("{")
    for folder in (small, other):
        TrainingStore(store.database).record(str(folder))
    result = CliRunner().invoke(cli, ["model", "list"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("damaged") == 1
    assert load_scorer(other).model_version[:12] in result.stdout
    assert str(small) in result.stderr


def test_a_checkpoint_is_exported_into_a_folder_of_its_own(save_small, tmp_path) -> None:
    small, out = save_small("small"), tmp_path / "out"
    result = CliRunner().invoke(cli, ["model", "export", str(small), "--out", str(out)])
    assert result.exit_code == 0, result.output
    version = load_scorer(small).model_version
    assert load_scorer(out).model_version == version
    assert f"MiB, model version {version[:12]} as before" in result.stdout
    again = CliRunner().invoke(cli, ["model", "export", str(small), "--out", str(out)])
    assert again.exit_code == 1
    assert "must be a new one or empty" in again.stderr
    command = ["model", "export", str(small), "--out", str(tmp_path / "other"), "--json"]
    assert json.loads(CliRunner().invoke(cli, command).stdout)["model_version"] == version
