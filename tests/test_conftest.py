"""Where CI=true, a test whose tool is missing fails; elsewhere it is skipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.mark.skipif(True, reason="not installed: chromium (apt-get install chromium)")
def test_with_a_mark():
    pass

def test_with_an_import():
    pytest.importorskip("no_such_module", reason="not installed: no_such_module")

@pytest.fixture
def tool():
    pytest.skip("not installed: a tool")

def test_with_a_fixture(tool):
    pass

@pytest.mark.skipif(True, reason="the data is not at hand")
def test_without_its_data():
    pass
"""


@pytest.mark.parametrize(
    ("ci", "told"), [("true", "1 skipped, 1 failed, 2 errors"), ("", "4 skipped")]
)
def test_a_missing_tool_fails_where_it_must_be_there(tmp_path: Path, ci: str, told: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull]
    root = str(Path(__file__).parents[1])

    run = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        env=os.environ | {"CI": ci, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )

    counts = {word.strip(" =") for word in run.stdout.splitlines()[-1].split(" in ")[0].split(",")}
    assert counts == set(told.split(", ")), run.stdout


def test_every_missing_tool_is_told_in_the_same_words() -> None:
    """`importorskip` has words of its own unless it is given a reason, and CI would let it pass."""
    lines = {
        f"{path.name}: {line.strip()}"
        for path in Path(__file__).parent.rglob("*.py")
        if path != Path(__file__)
        for line in path.read_text("utf-8").splitlines()
        if "importorskip(" in line
    }

    assert lines
    assert {line for line in lines if "not installed: " not in line} == set()
