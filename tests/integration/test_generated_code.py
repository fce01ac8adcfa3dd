"""recsys/v1 is what proto/ generates, and loads wherever the project installs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from google.protobuf.runtime_version import Domain, ValidateProtobufRuntimeVersion
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "proto").rglob("*.proto"))
REQUIRED = {
    requirement.name: requirement
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "dependencies"
    ]
    for requirement in [Requirement(text)]
}


def generated_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*_pb2*.py*")}


def lowest(name: str) -> Version:
    return min(Version(each.version) for each in REQUIRED[name].specifier if each.operator == ">=")


def numbers(pattern: str) -> set[Version]:
    texts = [text.decode() for text in generated_files(ROOT / "recsys/v1").values()]
    return {Version(version) for text in texts for version in re.findall(pattern, text)}


def test_generated_code_is_fresh(tmp_path):
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", *outputs]

    subprocess.run([*command, *map(str, SOURCES)], cwd=ROOT, check=True, capture_output=True)

    fresh, checked_in = generated_files(tmp_path / "recsys/v1"), generated_files(ROOT / "recsys/v1")
    assert sorted(fresh) == sorted(checked_in), "run `make proto`"
    stale = [name for name in fresh if fresh[name] != checked_in[name]]
    assert stale == [], "run `make proto` and commit the result"


def test_it_loads_with_every_protobuf_that_the_project_allows():
    """Protobuf's promise: generated code runs on its own major version and on the next one."""
    (made_for,) = numbers(r"# Protobuf Python Version: (\S+)")
    allowed = REQUIRED["protobuf"].specifier

    assert made_for <= lowest("protobuf")
    assert lowest("protobuf").major >= made_for.major
    assert not allowed.contains(f"{made_for.major + 2}.0.0")


def test_it_loads_with_every_grpc_that_the_project_allows():
    (made_for,) = numbers(r"GRPC_GENERATED_VERSION = '(\S+)'")

    assert made_for <= lowest("grpcio")


def test_protobuf_does_refuse_code_of_a_newer_major_version():
    """What the two tests above guard against is real."""
    with pytest.raises(Exception, match="cannot be older"):
        ValidateProtobufRuntimeVersion(Domain.PUBLIC, 99, 0, 0, "", "newer.proto")
