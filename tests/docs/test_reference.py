"""The reference is complete: everything that a user meets is documented by a sentence of its own.

Commands, options and RPCs carry their sentences in the code, from which their pages are made;
settings and metrics have theirs in the pages' tables.
"""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import click
import pytest
from prometheus_client.core import Metric

from recsys.cli.main import cli
from recsys.engine.engine import EngineStats, ScoringEngine
from recsys.image_tokens.cache import ImageTokenCache, TokenStats
from recsys.service.database_watch import DatabaseWatch
from recsys.service.metrics import ServiceMetrics
from recsys.settings import Settings, load_settings
from recsys.wire.statuses import INTERNAL, RETRY_AFTER_S, TABLE

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FLOORS = ("storage", "recsys", "training")
ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.M)
FEWEST_WORDS = 3
SENTENCE = re.compile(r"[^a-z\s].*[.)]$", re.DOTALL)
GENERATED = re.compile(r"_pb2(_grpc)?\.py$")


def is_sentence(text: str) -> bool:
    """Whether a text begins as a sentence, says something and ends."""
    return SENTENCE.match(text.strip()) is not None and len(text.split()) >= FEWEST_WORDS


def rows(page: str) -> dict[str, list[str]]:
    """The cells of a page's tables, by the name in each row's first cell."""
    text = (DOCS / page).read_text("utf-8")
    return {name: [c.strip() for c in cells.split("|")] for name, cells in ROW.findall(text)}


# The command line.


def commands(command: click.Command, path: str = "recsys") -> Iterator[tuple[str, click.Command]]:
    """Every command below one, with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")


COMMANDS = dict(commands(cli))


def test_the_commands_are_found() -> None:
    assert {"recsys rank", "recsys import pairs", "recsys evaluate"} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_is_documented(path: str) -> None:
    assert is_sentence((COMMANDS[path].help or "").partition("\n\n")[0])


OPTIONS = [
    (path, option)
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize(
    ("path", "option"), OPTIONS, ids=[f"{path} {option.opts[0]}" for path, option in OPTIONS]
)
def test_an_option_is_documented(path: str, option: click.Option) -> None:
    assert is_sentence(option.help or ""), f"{path} {option.opts[0]}: {option.help!r}"


@pytest.mark.parametrize("path", COMMANDS)
def test_no_two_options_of_a_command_have_the_same_help(path: str) -> None:
    options = [each for each in COMMANDS[path].params if isinstance(each, click.Option)]
    assert len({each.help for each in options}) == len(options)


def invocations() -> Iterator[tuple[str, list[str]]]:
    """Every call of `recsys` in a block of code of the documentation."""
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = page.read_text("utf-8")
        code = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.DOTALL)
        code += re.findall(r"^((?: {4}.*\n)+)", text, re.M) if page.parent == ROOT else []
        for line in "\n".join(code).replace("\\\n", " ").splitlines():
            if line.strip().startswith("recsys "):
                call = re.split(r"\|\||&", line.strip())[0]
                yield f"{page.name}: {line.strip()}", shlex.split(call, comments=True)


def complaint(words: list[str]) -> str:
    """What is wrong with a call: a command or an option that there is not; empty if nothing."""
    command: click.Command = cli
    options = _options(command)
    arguments = iter(words[1:])
    for word in arguments:
        name, has_value, _ = word.partition("=")
        if name.startswith("-"):
            if name not in options:
                return f"no option {name}"
            if not has_value and not options[name].is_flag:
                next(arguments, None)
        elif isinstance(command, click.Group):
            below = command.get_command(click.Context(command), word)
            if below is None:
                return f"no command {word}"
            command, options = below, _options(below)
    return ""


def _options(command: click.Command) -> dict[str, click.Option]:
    given = [each for each in command.params if isinstance(each, click.Option)]
    return {name: each for each in given for name in (*each.opts, *each.secondary_opts)}


CALLS = dict(invocations())


@pytest.mark.parametrize("line", CALLS)
def test_a_command_that_is_shown_exists(line: str) -> None:
    assert complaint(CALLS[line]) == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("recsys sing", "no command sing"),
        ("recsys rank --user ann --loud a.png", "no option --loud"),
        ("recsys --set a=b rank --user ann a.png", ""),
    ],
)
def test_a_command_that_does_not_exist_is_seen(line: str, says: str) -> None:
    assert complaint(line.split()) == says


# Settings and metrics.


def test_each_setting_is_documented_with_its_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RECSYS_{name.upper()}", raising=False)
    shown = {
        name: value.replace(str(tmp_path / "recsys"), "DATA")
        for name, value, _ in load_settings().shown()
    }

    documented = rows("reference/settings.md")

    assert {name: cells[0].strip("`") for name, cells in documented.items()} == shown
    assert [name for name, cells in documented.items() if not is_sentence(cells[1])] == []


@pytest.fixture
def metrics() -> dict[str, Metric]:
    """Every metric that the service reports, by the name that Prometheus shows."""
    service = ServiceMetrics()
    nothing_yet = Mock(**dict.fromkeys(EngineStats.__dataclass_fields__, 0))
    named = {"model_version": "v", "audiences": {"north": "w"}}
    engine = Mock(spec=ScoringEngine, stats=nothing_yet, ready=True, **named)
    kept = Mock(spec=ImageTokenCache, stats=Mock(return_value=TokenStats(0, 0, 0, 0, 0, 0)))
    service.watch(engine, Mock(spec=DatabaseWatch, answers=True), kept)
    return {
        metric.name + ("_total" if metric.type == "counter" else ""): metric
        for metric in service.registry.collect()
    }


def test_each_metric_is_documented_with_its_type(metrics: dict[str, Metric]) -> None:
    documented = rows("reference/metrics.md")

    assert {name: cells[0] for name, cells in documented.items()} == {
        name: metric.type for name, metric in metrics.items()
    }
    assert [name for name, cells in documented.items() if not is_sentence(cells[2])] == []


def test_each_metric_tells_itself_by_a_sentence(metrics: dict[str, Metric]) -> None:
    assert [name for name, each in metrics.items() if not is_sentence(each.documentation)] == []


# The protocol.

_spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
assert _spec is not None
assert _spec.loader is not None
generated = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generated)


def test_each_service_and_rpc_is_documented() -> None:
    said = {}
    for file in generated.described():
        comments = generated.comments(file)
        for index, service in enumerate(file.service):
            said[service.name] = comments.get((6, index), "")
            for number, method in enumerate(service.method):
                said[f"{service.name}.{method.name}"] = comments.get((6, index, 2, number), "")

    assert "RankingService.RankCandidates" in said
    assert [name for name, text in said.items() if not is_sentence(text.partition("\n\n")[0])] == []
    page = generated.protocol()
    assert [name for name in said if not re.search(rf"^##+ {re.escape(name)}$", page, re.M)] == []


# Errors.


def test_each_reason_is_documented_with_its_code() -> None:
    documented = rows("reference/errors.md")

    assert {name: cells[0] for name, cells in documented.items()} == {
        str(reason): each.code.name for each in (*TABLE, INTERNAL) for reason in each.reasons
    }
    sentences = {name: cells[1:] for name, cells in documented.items()}
    assert [name for name, cells in sentences.items() if not all(map(is_sentence, cells))] == []


def test_the_page_tells_when_to_come_back() -> None:
    documented = rows("reference/errors.md")

    waits = {
        name: re.search(r"RetryInfo says (\d+) s", cells[2]) for name, cells in documented.items()
    }
    assert {name: float(match[1]) for name, match in waits.items() if match} == RETRY_AFTER_S


# Python.


def public_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class that another package may import, by its place."""
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            if path.name.startswith("_") or GENERATED.search(path.name):
                continue
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield f"{path.relative_to(ROOT)}: {node.name}", node


CLASSES = dict(public_classes())


@pytest.mark.parametrize("place", CLASSES)
def test_a_public_class_is_documented(place: str) -> None:
    assert is_sentence((ast.get_docstring(CLASSES[place]) or "").partition("\n\n")[0])


def test_the_python_page_declares_modules_that_exist() -> None:
    text = (DOCS / "reference/python.md").read_text("utf-8")
    declared = set(re.findall(r"^\| \[`([\w.]+)`\]", text, re.M))
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.M))

    # A module of its own is shown where an interface hands out one of its objects.
    assert declared == {name for name in shown if "._" not in name}
    assert [name for name in declared if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Number of users to create.", True),
        ("the largest image, in pixels.", False),
        ("Of communities.", False),
        ("Number of users", False),
        ("", False),
    ],
)
def test_a_sentence_is_known(text: str, is_one: bool) -> None:
    assert is_sentence(text) is is_one
