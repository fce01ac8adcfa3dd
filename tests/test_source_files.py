"""What each file must be: short, honestly named, safe with what it reads, quiet when imported.

Every rule is a function from source text to a list of complaints, so that each is also shown to
fail on a small piece of source that breaks it.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("storage", "recsys", "training")
MAX_LINES = 400
MAX_FUNCTION_LINES = 50
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}

# What unpickles or runs text can be made to run anything: input is data, never code.
UNSAFE_CALLS = {"eval", "exec", "pd.read_pickle"}

# Public weights of others that are only published as pickles: read there, and as bare tensors. What
# is served reads one such file, whose digest is known.
PUBLISHED_PICKLES = "training/baselines/_weights.py"
PUBLISHED_TOWER = "recsys/scorer/photo/published_tower.py"


def unsafe_code(path: str, source: str) -> list[str]:
    """No text is run and nothing is unpickled (imports of unpicklers: test_architecture.py)."""
    return [
        f"{path}:{node.lineno}: calls {ast.unparse(node.func)}: it runs what the input says"
        for node in ast.walk(ast.parse(source, path))
        if isinstance(node, ast.Call)
        and (dotted(node.func) in UNSAFE_CALLS or allows_pickle(node) or loads_objects(path, node))
    ]


def loads_objects(path: str, call: ast.Call) -> bool:
    """torch.load, but for tensors alone in the two files that may."""
    if dotted(call.func) != "torch.load":
        return False
    tensors_alone = any(
        keyword.arg == "weights_only"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in call.keywords
    )
    return path not in (PUBLISHED_PICKLES, PUBLISHED_TOWER) or not tensors_alone


def allows_pickle(call: ast.Call) -> bool:
    return any(
        keyword.arg == "allow_pickle"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in call.keywords
    )


def bad_name(path: str, source: str) -> list[str]:
    """A module is the noun that it owns."""
    parts = [*Path(path).parent.parts, Path(path).stem]
    return [
        f"{path}: {part!r} says nothing: name the noun that the module owns"
        for part in parts
        if part in FORBIDDEN_NAMES
    ]


def too_long(path: str, source: str) -> list[str]:
    """Files have one responsibility; past the limit they are split."""
    num_lines = len(source.splitlines())
    if num_lines <= MAX_LINES:
        return []
    return [f"{path}: {num_lines} lines, at most {MAX_LINES}: split it along a seam with a name"]


def long_functions(path: str, source: str) -> list[str]:
    """Functions fit on a screen, docstring and all."""
    return [
        f"{path}:{node.lineno}: {node.name} has {body_lines(node)} lines of code, at most"
        f" {MAX_FUNCTION_LINES}: give its steps names"
        for node in ast.walk(ast.parse(source, path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > MAX_FUNCTION_LINES
    ]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its first statement on, the docstring not counted."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    if not statements:
        return 0
    return (function.end_lineno or 0) - statements[0].lineno + 1


def busy_init(path: str, source: str) -> list[str]:
    """`__init__.py` holds a docstring and, at most, the public names."""
    if Path(path).name != "__init__.py":
        return []
    tree = ast.parse(source, path)
    if not ast.get_docstring(tree):
        return [f"{path}: says nothing: give the package a docstring"]
    return [
        f"{path}:{node.lineno}: only imports and __all__ may follow the docstring"
        for node in tree.body[1:]
        if not isinstance(node, ast.Import | ast.ImportFrom) and not is_all(node)
    ]


def is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [dotted(name) for name in node.targets] == ["__all__"]


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; an empty text for anything that is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


RULES = [unsafe_code, bad_name, too_long, long_functions, busy_init]


def shipped() -> list[str]:
    """Every module that is shipped, but for the generated ones."""
    paths = [path.relative_to(ROOT) for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    return sorted(path.as_posix() for path in paths if path.parts[:2] != ("recsys", "v1"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_shipped_code_keeps_the_rule(rule):
    paths = shipped()
    assert len(paths) > len(FLOORS), "found next to nothing to read: the rule would pass unread"

    complaints = [text for path in paths for text in rule(path, (ROOT / path).read_text("utf-8"))]

    assert not complaints, "\n" + "\n".join(complaints)


def test_test_files_are_short_too():
    paths = sorted((ROOT / "tests").rglob("*.py"))

    complaints = [
        text
        for path in paths
        for text in too_long(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]

    assert not complaints, "\n" + "\n".join(complaints)


LINE = "x = 1\n"
LONG_BODY = "    x = 1\n" * (MAX_FUNCTION_LINES + 1)
SLIPS = {
    unsafe_code: [
        ("training/fitting/trainer.py", "import torch\ntorch.load('x')"),
        ("training/fitting/trainer.py", "torch.load('x', weights_only=True)"),
        (PUBLISHED_PICKLES, "torch.load('x')"),
        (PUBLISHED_PICKLES, "torch.load('x', weights_only=False)"),
        (PUBLISHED_TOWER, "torch.load('x')"),
        ("recsys/scorer/photo/model.py", "torch.load('x', weights_only=True)"),
        ("training/fitting/trainer.py", "np.load('x', allow_pickle=True)"),
        ("recsys/cli/main.py", "eval('1')"),
        ("recsys/cli/main.py", "exec('x = 1')"),
    ],
    bad_name: [("recsys/utils.py", ""), ("recsys/helpers/text.py", ""), ("storage/base.py", "")],
    too_long: [("recsys/cli/main.py", LINE * (MAX_LINES + 1))],
    long_functions: [
        ("recsys/cli/main.py", f"def f():\n{LONG_BODY}"),
        ("recsys/cli/main.py", f"class A:\n  async def f(self):\n{LONG_BODY}"),
    ],
    busy_init: [
        ("recsys/__init__.py", ""),
        ("recsys/__init__.py", '"""A package."""\nENGINE = open_engine()'),
        ("recsys/__init__.py", '"""A package."""\ndef f():\n    pass'),
    ],
}
HONEST = {
    unsafe_code: [
        (
            "training/fitting/trainer.py",
            "model.eval()\nloader.load('x')\nsafetensors.torch.load(b)",
        ),
        ("training/fitting/trainer.py", "np.load('x', allow_pickle=False)"),
        (PUBLISHED_PICKLES, "torch.load('x', weights_only=True)"),
        (PUBLISHED_TOWER, "torch.load('x', weights_only=True)"),
    ],
    bad_name: [("recsys/database.py", "")],
    too_long: [("recsys/cli/main.py", LINE * MAX_LINES)],
    long_functions: [
        ("recsys/cli/main.py", f'def f():\n    """A.\n{LINE * 90}    """\n    return 1')
    ],
    busy_init: [
        ("recsys/__init__.py", '"""A package."""\nfrom a import b\n\n__all__ = ["b"]'),
        ("recsys/ranking/ranker.py", "LIMIT = 3"),
    ],
}


def cases(table):
    return [(rule, path, source) for rule in RULES for path, source in table[rule]]


@pytest.mark.parametrize(("rule", "path", "source"), cases(SLIPS))
def test_a_rule_sees_the_slip(rule, path, source):
    (complaint,) = rule(path, source)

    assert complaint.startswith(path)


@pytest.mark.parametrize(("rule", "path", "source"), cases(HONEST))
def test_a_rule_lets_honest_code_pass(rule, path, source):
    assert rule(path, source) == []
