"""One word, one thing: names that stand for one thing alone, on all floors."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")
ALIAS = re.compile(r"_?[A-Z][a-z]\w*")


def shared_names(sources: Mapping[str, str]) -> list[str]:
    """One word, one thing: no class or type alias has the name of another.

    An alias is a name of a module in capitals and small letters, as `ReadTokens`; a class has the
    name of no other variable of a module either.

    Args:
        sources: text of each module by its path.
    """
    classes: dict[str, list[str]] = {}
    aliases: dict[str, list[str]] = {}
    for path, source in sources.items():
        tree = ast.parse(source, path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(f"{path}:{node.lineno}")
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                aliases.setdefault(node.targets[0].id, []).append(f"{path}:{node.lineno}")
    named = {name for name in aliases if ALIAS.fullmatch(name)} | set(classes)
    places = {name: [*classes.get(name, []), *aliases.get(name, [])] for name in sorted(named)}
    return [f"{name}: {', '.join(modules)}" for name, modules in places.items() if len(modules) > 1]


def test_no_two_classes_or_aliases_have_one_name():
    sources = {
        str(path.relative_to(ROOT)): path.read_text("utf-8")
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        if ROOT / "recsys" / "v1" not in path.parents
    }

    assert sources
    assert shared_names(sources) == []


def test_a_name_given_twice_is_seen():
    twice = {"a.py": "class Call:\n    pass\n", "b.py": "x = 1\nclass Call:\n    pass\n"}
    alias = {"a.py": "class Call:\n    pass\n", "b.py": "Call = dict[str, int]\n"}
    aliases = {"a.py": "Rows = list[int]\n", "b.py": "\nRows = list[str]\nT = Rows\nTOP = 1\n"}
    once = {
        "a.py": "class Call:\n    pass\nT = TypeVar('T')\nTOP = 1",
        "b.py": "from a import Call\nCalls = list[Call]\nT = TypeVar('T')\nTOP = 2\n",
    }

    assert shared_names(twice) == ["Call: a.py:1, b.py:2"]
    assert shared_names(alias) == ["Call: a.py:1, b.py:1"]
    assert shared_names(aliases) == ["Rows: a.py:1, b.py:2"]
    assert shared_names(once) == []


def function_names(path: str) -> set[str]:
    """Public functions of a module."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {name for name in names if not name.startswith("_")}


def test_rules_of_storage_and_of_requests_have_names_of_their_own():
    """A rule of storage raises InvalidRecord; of a request, InvalidRequest that names its field."""
    rules, fields = function_names("storage/rules.py"), function_names("recsys/fields.py")
    assert rules
    assert fields
    assert rules & fields == set()


def told_callbacks(path: str, source: str) -> list[str]:
    """One word for it: a callback that follows work is a parameter or field `progress`."""
    names = [
        (node.lineno, node.arg if isinstance(node, ast.arg) else node.target.id)
        for node in ast.walk(ast.parse(source, path))
        if isinstance(node, ast.arg)
        or (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
    ]
    return [f"{path}:{line}: {name}" for line, name in names if name == "tell"]


@pytest.mark.parametrize("floor", FLOORS)
def test_callbacks_that_follow_work_have_one_name(floor):
    modules = list((ROOT / floor).rglob("*.py"))
    assert modules
    assert [each for path in modules for each in told_callbacks(str(path), path.read_text())] == []


def test_a_callback_of_another_name_is_seen():
    field = "class Judge:\n    tell: Callable[[str], None]\n"
    assert told_callbacks("a.py", "def f(*, tell=print): ...") == ["a.py:1: tell"]
    assert told_callbacks("a.py", field) == ["a.py:2: tell"]
    assert told_callbacks("a.py", "def f(*, progress=print): ...") == []
