"""The training floor's commands: what they refuse, and in which words."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recsys.cli.main import cli
from recsys.scorer.checkpoint import find_checkpoint
from training.fitting.sole_run import sole_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return call


def test_the_papers_recipe_can_be_counted_on_any_machine(run) -> None:
    result = run("train", "idefics2_8b", "--dry-run")
    assert result.exit_code == 0, result.output
    for text in ("8,426,135,792", "417,792,240", "Missing on this machine"):
        assert text in result.output


def test_figures_that_are_not_of_the_base_that_was_named_say_so(run, tmp_path: Path) -> None:
    result = run("train", "tiny", "--dry-run", "--base", str(tmp_path))
    assert result.exit_code == 0, result.output
    said = "".join(result.output.split())  # a line may be broken within the folder's name
    assert said.startswith(f"{tmp_path}hasnoconfig.jsonthatcanbereadhere:thesefiguresareof")
    shutil.copytree(find_checkpoint("tiny") / "base", tmp_path, dirs_exist_ok=True)
    counted = json.loads(
        run("train", "tiny", "--dry-run", "--json", "--base", str(tmp_path)).stdout
    )
    assert counted["unread_base"] is None
    assert [each.split(":")[0] for each in counted["missing"]] == ["tokenizer"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing", "--dry-run"], "RECIPE must be one of tiny, idefics2_8b,"),
        (["train", "tiny"], "training needs --base and --out"),
        (["train", "tiny", "--dry-run", "--set", "lora.rnk=1"], "must name one of rank"),
        (["train", "tiny", "--dry-run", "--set", "first=1"], "one of first.plan, first.num_users"),
        (["train", "tiny", "--dry-run", "--set", "first.plan.num_steps=-3"], "must be at least 0"),
        (["train", "tiny", "--set", "base.dtype=bf16"], "base.dtype must be one of float32,"),
        (["train", "tiny", "--set", "contrastive_weight=nan"], "must give a finite number"),
        (["train", "tiny", "--stage1", "nowhere"], "'nowhere' does not exist"),
        (["train", "tiny", "--base", "b", "--out", "o", "--device", "gpu"], "device must be cpu"),
        (["train", "tiny", "--dry-run", "--device", "gpu"], "device must be cpu"),
        (["evaluate", "tiny", "--against", "nothing"], "must be NAME=FOLDER"),
    ],
)
def test_a_slip_is_told_in_a_sentence(run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments",
    [["train", "tiny", "--base", "b", "--out"], ["cross-validate", "tiny", "--out"], ["pretrain"]],
)
def test_a_folder_that_a_run_is_using_is_refused(run, tmp_path, arguments: list[str]) -> None:
    assert run("world", "create", "--users", "1", "--choices", "3").exit_code == 0
    with sole_run(tmp_path):
        result = run(*arguments, str(tmp_path))
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert f"another run is using {tmp_path}: wait for it or give another folder" in told


def test_an_evaluation_needs_people(run) -> None:
    assert run("world", "create", "--users", "1", "--choices", "3").exit_code == 0
    result = run("evaluate", "tiny")
    assert result.exit_code != 0
    assert "at least two users" in " ".join(result.output.split())


@pytest.mark.slow
def test_exactly_the_users_and_pairs_named_are_judged(run, tmp_path: Path) -> None:
    assert run("world", "create", "--users", "6", "--choices", "14").exit_code == 0
    users = tmp_path / "users.txt"
    users.write_text("s0-u00001\ns0-u00004\n")
    out = tmp_path / "report"
    result = run("evaluate", "tiny", "--users", str(users), "--no-baselines", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert json.loads((out / "report.json").read_text())["unseen"]["top1"]["n_users"] == 2
    assert (out / "report.html").exists()
    users.write_text("nobody\n")
    refused = run("evaluate", "tiny", "--users", str(users))
    assert "every user named must be in storage" in " ".join(refused.output.split())


@pytest.mark.slow
def test_images_are_read_by_the_limits_of_the_settings(run, tmp_path: Path) -> None:
    assert run("world", "create", "--users", "12", "--choices", "14").exit_code == 0
    base, out = tmp_path / "base", str(tmp_path / "out")
    for part in ("base", "tokenizer"):
        shutil.copytree(find_checkpoint("tiny") / part, base, dirs_exist_ok=True)
    training = ["train", "tiny", "--base", str(base), "--out", out]
    for arguments, message in (
        (training, "at most 1 % of images may be unreadable"),
        (["cross-validate", "tiny", "--out", out], "at most 1 % of images may be unreadable"),
        (["evaluate", "tiny"], "image must have at most 20 bytes"),
    ):
        result = run("--set", "max_image_bytes=20", *arguments)
        assert result.exit_code == 1, arguments
        assert message in " ".join(result.output.split()), arguments


@pytest.mark.slow
def test_a_run_says_that_its_base_has_no_preference_tokens(run, tmp_path: Path) -> None:
    """The recipe begins with them, and this base was made before there were any."""
    assert run("world", "create", "--users", "12", "--choices", "14").exit_code == 0
    base = tmp_path / "base"
    for part in ("base", "tokenizer"):
        shutil.copytree(find_checkpoint("tiny") / part, base, dirs_exist_ok=True)
    stopped_by = ["--set", "max_image_bytes=20"]
    training = ["train", "tiny", "--base", str(base), "--out", str(tmp_path / "out")]
    for values, is_told in (
        ((), True),
        (("--set", "token_start=uniform"), False),
        (("--set", "scorer.num_preference_tokens=0"), False),
    ):
        told = " ".join(run(*stopped_by, *training, *values).output.split())
        assert "may be unreadable" in told
        assert ("has no preference tokens for token_start=base" in told) == is_told, values


@pytest.mark.parametrize(
    ("command", "former", "name"),
    [
        (["world", "create"], "--population", "--communities"),
        (["evaluate", "tiny"], "--targets", "--pairs-per-user"),
    ],
)
def test_a_former_name_of_an_option_is_taken_and_not_shown(run, command, former, name) -> None:
    shown = run(*command, "--help").output
    assert name in shown
    assert former not in shown
    refused = run(*command, former, "-1")
    assert refused.exit_code == 2
    assert f"Invalid value for '{name}'" in refused.output
    assert run(*command, name, "-1").output == refused.output
