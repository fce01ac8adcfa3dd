"""No module needs itself to be loaded: imports that run when a module is loaded form no cycle."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")


def import_cycle(sources: Mapping[str, str]) -> list[str]:
    """The modules of a cycle, the first one again at the end; empty if there is none.

    Args:
        sources: text of each module by its dotted name.
    """
    graph = {module: imported_modules(module, sources) for module in sources}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def imported_modules(module: str, sources: Mapping[str, str]) -> set[str]:
    """Those of the modules that are imported when one of them is loaded."""
    names = [name for node in run_on_load(ast.parse(sources[module])) for name in named(node)]
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


def test_no_modules_import_each_other():
    paths = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    sources = {dotted(path): path.read_text("utf-8") for path in paths}
    assert len(sources) > 200, "found too little to read: the rule would pass unread"

    assert import_cycle(sources) == [], "a cycle: move what both need to a module of its own"


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
