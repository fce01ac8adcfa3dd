"""The project around the code: versions that agree, an honest lock, commands that answer."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKED_EXTRAS = ("cpu", "postgres", "train", "privacy", "analyst", "dev")
TARGETS = (
    *("demo", "test", "check", "format", "wheel", "test-ranges", "docs", "proto", "bench", "tiny"),
    *("lock", "clean"),
)

# A folder of one person's or one build's machine means nothing to anyone else.
MACHINE_PATH = re.compile(r"(?<![\w.~*}\]-])/(?:work|root|tmp|home|Users)/")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run from the project's folder, without what an outer `make` tells the programs it starts."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def locked() -> dict[str, str]:
    """Version by canonical name of everything the lock pins."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def required() -> list[Requirement]:
    """Everything that pyproject.toml asks for, with the extras that the lock covers."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    texts = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["build-system"]["requires"]]
    return [Requirement(text) for text in texts + [t for e in LOCKED_EXTRAS for t in extras[e]]]


def machine_paths(text: str) -> list[str]:
    return [line for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[([^]]+)]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)

    assert next(v for v in versions if v != "Unreleased") == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_the_lock_has_what_pyproject_asks_for(requirement):
    version = locked().get(canonicalize_name(requirement.name))

    assert version, f"{requirement.name} is not in requirements.lock: run `make lock`"
    assert requirement.specifier.contains(version), f"{requirement}, locked {version}: `make lock`"


def test_every_dependency_has_a_lowest_version():
    """`make test-ranges` tries just that one, and whoever installs the package may get it."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    product = [text for name in extras if name not in ("bench", "dev") for text in extras[name]]
    texts = [*PYPROJECT["project"]["dependencies"], *product]
    ranges = {each.name: str(each.specifier) for each in map(Requirement, texts)}

    assert [name for name, versions in ranges.items() if ">=" not in versions] == []


def test_the_ranges_are_tried_with_the_extras_that_a_product_has():
    script = (ROOT / ".ci" / "ranges").read_text("utf-8")
    extras = set(PYPROJECT["project"]["optional-dependencies"]) - {"gpu", "bench", "dev"}

    assert set(re.findall(r"--extra (\w+)", script)) == extras


def test_the_lock_fits_every_machine():
    """No build suffix and no CUDA package (they depend on the machine), no index and no hash."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    pins = [line for line in text.splitlines() if not line.startswith("#")]

    assert [p for p in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", p)] == []
    assert [name for name in locked() if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_what_is_stopped_in_the_middle_of_make_tiny_leaves_no_process_behind():
    """Ctrl-C ends what stands in front; the shell has others ignore it."""
    steps = [line for line in run("make", "-n", "tiny").stdout.splitlines() if "recsys" in line]
    told = "\n".join(steps)
    assert told.index("world create") < told.index("pretrain") < told.index("train tiny")
    assert not re.search(r"(?<![>&])&(?![&\d])", told)


def test_make_alone_lists_the_targets():
    answer = run("make")

    assert answer.returncode == 0, answer.stderr
    listed = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if line[:2] == "  ")
    assert set(TARGETS) <= set(listed)


SLOW_PIP = """#!/bin/sh
case "$*" in "-m pip install -r"*)
    echo "Collecting a"
    tries=0
    until [ -e seen ]; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || exit 3
        sleep 0.05
    done
    echo "Installing collected packages: a" ;;
esac
"""


def test_a_person_sees_a_dot_as_soon_as_a_package_comes(tmp_path):
    """Not every awk tells of a line before it has read a block of them, or the end."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.with_name("activate").write_text(str(tmp_path / ".venv"))
    python.write_text(SLOW_PIP)  # installs only once its dot is seen
    python.chmod(0o755)
    command = ["make", "install", f"PYTHON={python}"]
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True
    ) as make:
        assert "locked packages" in make.stdout.readline()
        assert make.stdout.read(1) == "."
        (tmp_path / "seen").touch()
        rest, errors = make.communicate()
    assert (make.returncode, rest) == (0, " unpacking done\n"), errors


def test_the_command_answers_help():
    command = Path(sysconfig.get_path("scripts")) / "recsys"

    answer = run(str(command), "--help")

    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout


def test_the_licence_is_the_one_that_the_package_names():
    text = (ROOT / "LICENSE").read_text("utf-8")

    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_notice_covers_what_is_shipped_beside_code():
    text = (ROOT / "NOTICE").read_text("utf-8")
    pictures = [path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".svg")]

    assert {"LICENSE", "NOTICE"} == set(PYPROJECT["project"]["license-files"])
    assert all(f"docs/{_kind_of(name)}" in text for name in pictures), pictures
    checkpoints = [path.name for path in (ROOT / "recsys" / "checkpoints").iterdir()]
    assert all(f"recsys/checkpoints/{name}" in text for name in checkpoints), checkpoints


def _kind_of(picture: str) -> str:
    return "analyst-*.png" if picture.startswith("analyst-") else picture


def test_extras_are_asked_for_by_the_name_of_the_package():
    asked = re.compile(r"pip install ['\"]([\w-]+)\[")
    sources = [path for floor in ("recsys", "training") for path in (ROOT / floor).rglob("*.py")]
    names = {name for path in sources for name in asked.findall(path.read_text("utf-8"))}

    assert names == {PYPROJECT["project"]["name"]} == {"recsys-images"}


@pytest.mark.slow
def test_the_wheel_has_its_licences_and_what_it_serves(tmp_path):
    """What the index would get: built by the locked back end, without a network."""
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))

    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("recsys_images-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {re.sub(r"^[^/]+[.]dist-info/", "", name) for name in archive.namelist()}
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        told = archive.read(metadata).decode()
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= names
    assert "recsys/checkpoints/tiny/base/model.safetensors" in names
    assert "storage/migrations/versions/0006_people_and_images.py" in names
    assert "Name: recsys-images\n" in told
    assert "Description-Content-Type: text/markdown\n" in told


def test_no_file_names_a_path_of_one_machine():
    tracked = run("git", "ls-files", "-z")
    assert tracked.returncode == 0, tracked.stderr
    paths = [ROOT / name for name in tracked.stdout.split("\0") if name]

    result = {
        str(path.relative_to(ROOT)): machine_paths(path.read_bytes().decode("utf-8", "replace"))
        for path in paths
        if path.is_file() and path.relative_to(ROOT).parts[0] != "tests"
        if b"\0" not in path.read_bytes()[:8192]
    }

    assert {name: lines for name, lines in result.items() if lines} == {}


@pytest.mark.parametrize("text", ["/tmp/x", "file:///tmp/x", "(/root/.cache)", "x = '/work/main'"])
def test_a_path_of_one_machine_is_seen(text):
    assert machine_paths(f"fine\n{text}\nfine") == [text]


@pytest.mark.parametrize(
    "text", ["~/work/pictures", "./tmp/x", "$HOME/tmp/", "share/work/", "a /workspace/x"]
)
def test_other_paths_are_not(text):
    assert machine_paths(text) == []
