"""Imports form no cycle: between modules those that run on loading, between packages all of them.

A module that needs itself fails to load. Packages that know each other load, and nobody can tell
which of them to read first.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")


def import_cycle(sources: Mapping[str, str]) -> list[str]:
    """The modules of a cycle, the first one again at the end; empty if there is none.

    Args:
        sources: text of each module by its dotted name.
    """
    return cycle({module: imported_modules(module, sources, run_on_load) for module in sources})


def package_cycle(sources: Mapping[str, str]) -> list[str]:
    """Imports that close a cycle of packages, one for each step; empty if there is none.

    An import in a function counts, and one that only a type checker sees.

    Args:
        sources: text of each module by its dotted name.
    """
    imports: dict[str, dict[str, str]] = {}
    for module in sources:
        steps = imports.setdefault(package(module), {})
        for other in sorted(imported_modules(module, sources, ast.walk)):
            steps.setdefault(package(other), f"{module} imports {other}")
    names = cycle({name: steps.keys() - {name} for name, steps in imports.items()})
    return [imports[importer][other] for importer, other in pairwise(reversed(names))]


def package(module: str) -> str:
    """The package below its floor, such as `recsys.images`; a module right there is its own."""
    return ".".join(module.split(".")[:2])


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """The names of a cycle, each imported by the next, the first one again at the end."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def imported_modules(
    module: str, sources: Mapping[str, str], nodes: Callable[[ast.AST], Iterator[ast.AST]]
) -> set[str]:
    """Those of the modules that are imported by some nodes of one of them."""
    names = [name for node in nodes(ast.parse(sources[module])) for name in named(node)]
    # `from a import b` is an import of the module a.b or of a name in the module a.
    modules = {name if name in sources else name.rpartition(".")[0] for name in names}
    return (modules & sources.keys()) - {module}


def run_on_load(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but none in a function and none that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_on_load(node)


def named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@pytest.fixture(scope="module")
def shipped() -> dict[str, str]:
    paths = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    sources = {dotted(path): path.read_text("utf-8") for path in paths}
    assert len(sources) > 200, "found too little to read: the rule would pass unread"
    return sources


def test_no_modules_import_each_other(shipped):
    assert import_cycle(shipped) == [], "a cycle: move what both need to a module of its own"


def test_no_packages_import_each_other(shipped):
    cycle = "\n".join(package_cycle(shipped))
    assert not cycle, f"a cycle: move what both need to the lower package\n{cycle}"


def test_the_architecture_page_has_the_packages_in_their_order(shipped):
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    places = {
        f"{floor}.{name}": number
        for floor, order in re.findall(r"^(recsys|training) +(.* ← .*)$", page, re.M)
        for number, names in enumerate(order.split(" ← "))
        for name in names.split(", ")
    }
    packages = {package(module) for module in shipped if module.count(".") > 1}
    written = {name for name in packages if not name.startswith("storage.")} - {"recsys.v1"}
    assert places.keys() == written

    for module in shipped:
        importer = package(module)
        for other in map(package, imported_modules(module, shipped, ast.walk)):
            if {importer, other} <= places.keys() and importer.split(".")[0] == other.split(".")[0]:
                is_left = importer == other or places[other] < places[importer]
                assert is_left, f"{module} imports {other}, which stands no further left"


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


CYCLES = [
    {"a": "import b", "b": "import a"},
    {"a.x": "from a.y import value", "a.y": "import c", "c": "from a import x"},
    {"a": "import b", "b": "class C:\n    try:\n        import a\n    finally:\n        pass"},
]


@pytest.mark.parametrize("sources", CYCLES)
def test_a_cycle_is_seen(sources):
    assert set(import_cycle(sources)) == set(sources)


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import value",
        "import c",
    ],
)
def test_what_is_not_imported_on_loading_makes_no_cycle(source):
    assert import_cycle({"a": "import b", "b": source, "c": ""}) == []


PACKAGE_CYCLES = [
    {"r.a.x": "from r.b.y import value", "r.b.y": "", "r.b.z": "import r.a.x"},
    {"r.a.x": "def f():\n    import r.b.y", "r.b.y": "from r.a import z", "r.a.z": ""},
    {"r.a.x.y": "import r.top", "r.top": "from r.b import w", "r.b.w": "import r.a.z", "r.a.z": ""},
]


@pytest.mark.parametrize("sources", PACKAGE_CYCLES)
def test_a_cycle_of_packages_is_seen_where_modules_have_none(sources):
    assert import_cycle(sources) == []
    assert len(package_cycle(sources)) == len({package(module) for module in sources})


def test_a_cycle_of_packages_is_shown_by_its_imports():
    assert sorted(package_cycle(PACKAGE_CYCLES[0])) == [
        "r.a.x imports r.b.y",
        "r.b.z imports r.a.x",
    ]


def test_a_module_beside_the_packages_counts_by_itself():
    sources = {"r.top": "import r.a.x", "r.a.x": "import r.errors", "r.errors": "", "r": ""}
    assert package_cycle(sources) == []
