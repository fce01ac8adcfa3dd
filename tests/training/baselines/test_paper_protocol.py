"""The paper's test protocol with every baseline whose weights are in a folder, in one command."""

import functools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.cli.main import cli
from training.baselines import registry
from training.baselines.registry import WEIGHTED

USERS, NUM_RANKINGS, NUM_REFERENCES = (101, 102, 103), 12, 2
NUM_QUESTIONS = len(USERS) * (NUM_RANKINGS - 1 - NUM_REFERENCES)  # a row in ten has no label


@pytest.mark.slow
def test_all_baselines_answer_the_papers_questions(
    weights, geometry, write_pickapic, save_small, tmp_path: Path, monkeypatch
) -> None:
    for name in ("idefics2", "viper"):  # at the published size of images it takes minutes
        small = functools.partial(registry._SCORERS[name], geometry=geometry)
        monkeypatch.setitem(registry._SCORERS, name, small)
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    write_pickapic(tmp_path / "test.parquet", USERS, NUM_RANKINGS)
    options = ["--weights", weights, "--no-signatures", "--no-cold-start", "--batch-users", 2]
    asked = ["evaluate", save_small("final"), "--pickapic-test", tmp_path / "test.parquet"]
    result = CliRunner().invoke(cli, [str(each) for each in (*asked, *options, "--json")])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["missing"] == []
    assert set(WEIGHTED) <= set(report["baselines"])
    for name in (*WEIGHTED, "random"):
        figures = report["baselines"][name]["as_paper"]
        assert figures["top1"]["n_pairs"] == NUM_QUESTIONS, name
        assert figures["of_four"]["top3"]["n_pairs"] == NUM_QUESTIONS, name
        behind = [each["value"] for each in figures["by_references"].values()]
        assert list(figures["by_references"]) == ["0", "1", "2"]
        if name not in ("idefics2", "viper"):
            assert len(set(behind)) == 1, f"{name} reads no references"
