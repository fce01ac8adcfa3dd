"""The README's tree names every module of the three floors, each with what it is for."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")


def undescribed(readme: str, paths: list[str]) -> list[str]:
    """Modules that have no line in a code block of the README, below the folder that holds them.

    A line of the tree is indented by its depth: `name.py  what it is for`, or several names that
    share one description. The generated package and the migrations are described by their folder.
    """
    described: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in "\n".join(re.findall(r"^```\w*\n(.*?)^```", readme, re.M | re.S)).splitlines():
        indent = len(line) - len(line.lstrip())
        words = line.split()
        folders = [folder for folder in folders if folder[0] < indent]
        parent = "".join(name for _, name in folders)
        if words and words[0].endswith("/"):
            folders.append((indent, words[0]))
        names = [word.strip(",") for word in words if word.strip(",").endswith(".py")]
        if names and len(words) > len(names):
            described.update(f"{parent}{name}" for name in names)
    return [path for path in paths if path not in described]


def modules() -> list[str]:
    paths = [path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    return sorted(
        path.as_posix()
        for path in paths
        if path.name != "__init__.py" and not {"v1", "migrations"} & set(path.parts)
    )


def test_the_readme_describes_every_module():
    missing = undescribed((ROOT / "README.md").read_text("utf-8"), modules())

    assert missing == [], "give each a line in README.md's tree"


TREE = """# Title
```
storage/         what people chose
  records.py     the records
  importers/
    pairs.py, ratings.py   files to choices
recsys/
  cli.py
```
"""


def test_the_tree_is_read_by_folder():
    assert undescribed(TREE, ["storage/records.py", "storage/importers/ratings.py"]) == []


@pytest.mark.parametrize(
    "path", ["recsys/records.py", "storage/pairs.py", "storage/blobs.py", "recsys/cli.py"]
)
def test_a_module_without_a_line_is_seen(path):
    assert undescribed(TREE, [path]) == [path]
