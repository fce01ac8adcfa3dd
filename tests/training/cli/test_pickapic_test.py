"""The paper's test protocol as one command, on files with Pick-a-Pic's own columns."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from recsys.cli.main import cli
from recsys.image_tokens.folder import TokenFolder
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.trained_on import read_trained_on, user_digest, write_trained_on
from training.baselines.registry import WEIGHTED

SEEN, UNSEEN, VALIDATION = (7, 8, 9), (101, 102, 103), (50,)
FEW = 104
"""Likes fewer images than the paper's users do."""

NUM_RANKINGS = 12
NUM_ASKED = NUM_RANKINGS - 1 - 8
"""Of each user: all pairs but those without a label and the references."""


@pytest.fixture(scope="module")
def test_file(write_pickapic, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pickapic") / "test-00000.parquet"
    write_pickapic(path, (*SEEN, *UNSEEN, *VALIDATION, FEW), NUM_RANKINGS, fewer={FEW: 10})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The shipped one, as if it had learned from some of the users, later than they chose here."""
    folder = tmp_path_factory.mktemp("checkpoint") / "trained"
    shutil.copytree(find_checkpoint("tiny"), folder)
    learned = read_trained_on(folder)
    later = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    changed = replace(
        learned,
        newest={user_digest(None, str(user)): later for user in SEEN},
        validation=frozenset(user_digest(None, str(user)) for user in VALIDATION),
    )
    write_trained_on(changed, folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(each) for each in arguments])

    return call


def assert_asked_as_paper(figures: dict) -> None:
    """Everybody's questions count alike, behind each number of references."""
    num_questions = {
        "top1": NUM_ASKED * len((*SEEN, *UNSEEN)),
        "seen": NUM_ASKED * len(SEEN),
        "unseen": NUM_ASKED * len(UNSEEN),
    }
    for name, number in num_questions.items():
        assert figures[name]["n_pairs"] == number
    for each in figures["of_four"].values():
        assert each["n_pairs"] == num_questions["top1"]
    assert list(figures["by_references"]) == ["0", "1", "2", "4", "8"]
    assert figures["by_references"]["8"] == figures["top1"]


@pytest.mark.slow
def test_one_command_judges_seen_and_unseen_users_of_the_test_files(
    run, test_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    left_out = ["--no-signatures", "--no-cold-start"]
    result = run(
        "evaluate", checkpoint, "--pickapic-test", test_file, *left_out, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out/report.json").read_text())
    unseen, seen = report["unseen"], report["seen"]
    assert unseen["top1"]["n_users"] == len(UNSEEN)
    assert seen["top1"]["n_users"] == len(SEEN)
    for part, users in ((unseen, UNSEEN), (seen, SEEN)):
        assert part["top1"]["n_pairs"] == len(users) * NUM_ASKED, "all that references leave"
        assert {each["n_users"] for each in part["of_four"].values()} == {len(users)}
        assert {each["n_pairs"] for each in part["of_four"].values()} == {len(users) * NUM_ASKED}
    assert list(report["by_references"]) == list(seen["by_references"]) == ["0", "1", "2", "4", "8"]
    assert report["by_references"]["8"] == unseen["top1"]
    for baseline in report["baselines"].values():
        assert baseline["top1"]["n_users"] == len(UNSEEN)
        assert_asked_as_paper(baseline["as_paper"])
    assert_asked_as_paper(report["as_paper"])
    assert "random_references" not in unseen, "all references are random"
    assert any("as in the paper" in note for note in report["notes"])
    assert not (tmp_path / "recsys.db").exists(), "the test files are imported apart"
    assert "seen users" in result.output


@pytest.mark.slow
def test_baselines_without_their_weights_are_told_by_name(
    run, test_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    options = ["--no-signatures", "--no-cold-start", "--json", "--weights", tmp_path / "weights"]
    result = run("evaluate", checkpoint, "--pickapic-test", test_file, *options)
    assert result.exit_code == 0, result.output
    missing = {each["what"] for each in json.loads(result.stdout)["missing"]}
    assert missing == set(WEIGHTED)


def test_tokens_of_test_images_are_made_once_and_kept_apart_from_those_of_stored_images(
    run, test_file: Path, save_small, encoded: list[int], tmp_path: Path, monkeypatch
) -> None:
    checkpoint, other = save_small("full"), save_small("bare", seed=1)
    kept = TokenFolder(tmp_path / "image-tokens", "of another model")
    kept.write("ab" * 32, torch.ones(2, 3))
    monkeypatch.setenv("RECSYS_IMAGE_TOKENS_FOLDER", str(kept.path))
    options = ["--no-signatures", "--no-cold-start", "--no-baselines", "--json"]
    asked = ["evaluate", checkpoint, "--against", f"bare={other}", "--pickapic-test", test_file]
    first = run(*asked, *options)
    assert first.exit_code == 0, first.output
    assert 0 < sum(encoded) <= 2 * NUM_RANKINGS * len((*SEEN, *UNSEEN, *VALIDATION))
    files = [path for path in kept.path.rglob("*") if path.is_file()]
    assert len(files) == 1, "nothing is added, and nothing is taken for gone"
    assert kept.read("ab" * 32) is not None

    once = sum(encoded)
    encoded.clear()
    monkeypatch.delenv("RECSYS_IMAGE_TOKENS_FOLDER")
    monkeypatch.setenv("RECSYS_IMAGE_TOKENS_BYTES", "0")
    again = run(*asked, *options)
    assert sum(encoded) > once
    figures = [json.loads(each.stdout) for each in (first, again)]
    assert figures[0]["ablations"] == figures[1]["ablations"]
    (bare,) = figures[0]["ablations"]
    assert list(bare["as_paper"]["of_four"]) == ["top1", "top2", "top3"]
    assert bare["as_paper"]["top1"]["n_pairs"] == figures[0]["as_paper"]["top1"]["n_pairs"]
    assert figures[0]["unseen"] == figures[1]["unseen"]


def test_where_no_user_was_learned_from_it_is_said_how_they_are_told_apart(
    run, save_small, test_file: Path
) -> None:
    options = ["--no-signatures", "--no-cold-start", "--no-baselines", "--json"]
    checkpoint = save_small("full")
    shutil.copy(find_checkpoint("tiny") / "trained_on.json", checkpoint)
    result = run("evaluate", checkpoint, "--pickapic-test", test_file, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["as_paper"]["top1"] == report["as_paper"]["unseen"]
    assert "seen" not in report["as_paper"]
    assert any("without --user-prefix" in note for note in report["notes"])


def test_users_cannot_be_named_beside_test_files(run, test_file: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("7\n")
    result = run("evaluate", "tiny", "--pickapic-test", test_file, "--users", users)
    assert result.exit_code == 2
    assert "leave out --users" in " ".join(result.output.split())


def test_a_file_that_is_no_parquet_is_told_in_a_sentence(run, tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    path.write_bytes(b"not parquet")
    result = run("evaluate", "tiny", "--pickapic-test", path)
    assert result.exit_code != 0
    assert "test.parquet" in result.output
    assert "Traceback" not in result.output
