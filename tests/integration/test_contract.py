"""The contract with other programs: well written, and nothing that was released changes."""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = Path(sysconfig.get_path("scripts")) / "buf"
RELEASED = ROOT / "proto/released.txtpb"

Change = Callable[[str, str, str], None]


def buf(*arguments: str, folder: Path = ROOT) -> list[str]:
    """Run buf and return its complaints, one a line; none where it passes."""
    command = [str(BUF), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert bool(done.stdout) == bool(done.returncode)
    return done.stdout.splitlines()


def breaking(folder: Path = ROOT) -> list[str]:
    return buf("breaking", "--against", str(RELEASED), folder=folder)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the contract, to be changed."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


@pytest.fixture
def change(copied: Path) -> Change:
    """Replace a piece of one file of the copy."""

    def replace(name: str, old: str, new: str) -> None:
        path = copied / "proto/recsys/v1" / f"{name}.proto"
        text = path.read_text("utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), "utf-8")

    return replace


def test_the_contract_keeps_what_was_released():
    assert breaking() == []


def test_the_contract_is_well_written():
    assert buf("lint") == []


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        (
            "choice",
            "int64 revision = 2;",
            "int64 revision = 9;",
            r'Previously present field "2" with name "revision" on message "Choice"',
        ),
        (
            "choice",
            "int64 revision = 2;",
            "int64 history_revision = 2;",
            r'changed name from "revision" to "history_revision"',
        ),
        ("choice", "int64 revision = 2;", "string revision = 2;", r'changed type from "int64"'),
        ("choice", "string prompt = 5;", "", r'Previously present field "5" with name "prompt"'),
        (
            "image",
            "bytes data = 1;",
            "bytes data = 1 [json_name='bytes'];",
            r'"json_name" from "data"',
        ),
        (
            "ranking_service",
            "CANDIDATE_STATUS_IMAGE_NOT_FOUND = 3;",
            "CANDIDATE_STATUS_IMAGE_UNKNOWN = 3;",
            r'"CANDIDATE_STATUS_IMAGE_NOT_FOUND" to "CANDIDATE_STATUS_IMAGE_UNKNOWN"',
        ),
        (
            "user_service",
            "rpc EraseUser(EraseUserRequest) returns (EraseUserResponse);",
            "",
            r'Previously present RPC "EraseUser"',
        ),
    ],
    ids=["renumbered", "renamed", "retyped", "removed", "json", "enumerator", "rpc"],
)
def test_a_change_that_breaks_clients_is_refused(copied, change, name, old, new, complaint):
    change(name, old, new)

    assert any(re.search(complaint, line) for line in breaking(copied))


def test_a_file_that_is_gone_is_refused(copied):
    (copied / "proto/recsys/v1/feedback_service.proto").unlink()

    assert any("feedback_service.proto" in line for line in breaking(copied))


def test_what_is_added_passes(copied, change):
    change("choice", "int64 revision = 2;", "int64 revision = 2;\n  // New.\n  string added = 99;")
    (copied / "proto/recsys/v1/added.proto").write_text('syntax = "proto3";\npackage recsys.v1;\n')

    assert breaking(copied) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("choice", "int64 revision = 2;", "int64 Revision = 2;", "lower_snake_case"),
        (
            "ranking_service",
            "CANDIDATE_STATUS_IMAGE_NOT_FOUND = 3;",
            "IMAGE_NOT_FOUND = 3;",
            "should be prefixed",
        ),
        (
            "choice",
            "int64 revision = 2;",
            "int64 revision = 2;\n  string added = 99;",
            "should have a non-empty comment",
        ),
        ("image", "package recsys.v1;", "package recsys;", "should be suffixed"),
    ],
    ids=["name", "prefix", "comment", "package"],
)
def test_what_is_badly_written_is_refused(copied, change, name, old, new, complaint):
    change(name, old, new)

    assert any(complaint in line for line in buf("lint", folder=copied))
