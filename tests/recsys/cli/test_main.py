"""The group: fast help, commands of other packages, errors as sentences with exit codes."""

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import recsys
from recsys import errors
from recsys.cli import main as module
from recsys.cli.failures import ExitCode, Failure, explained
from recsys.cli.main import COMMANDS, cli
from storage import errors as storage_errors

HEAVY = ["torch", "transformers", "sqlalchemy", "alembic", "grpc", "rich", "PIL", "numpy"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="recsys")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Another package with commands: one fine, one broken, one missing, one that is none."""
    (tmp_path / "fine_package.py").write_text(
        "import click\n@click.command()\ndef fine():\n    click.echo('fine')\n"
        "def none():\n    pass\n"
    )
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('broken at import')\n")
    monkeypatch.syspath_prepend(tmp_path)
    values = {
        "fine": "fine_package:fine",
        "none": "fine_package:none",
        "broken": "broken_package:broken",
        "gone": "no_such_package:gone",
        "rank": "fine_package:fine",
    }
    points = EntryPoints(EntryPoint(n, v, module.ENTRY_POINTS) for n, v in values.items())
    monkeypatch.setattr(module, "entry_points", lambda **wanted: points.select(**wanted))
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom recsys.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('heavy:', [name for name in {[*HEAVY, 'pydantic']} if name in"
        " sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "heavy: []" in answer.stdout, answer.stdout + answer.stderr
    assert "Exit codes:" in answer.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys\nfrom recsys.cli.main import cli\n"
        f"try:\n    cli(['{name}', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "heavy: []" in answer.stdout, answer.stdout + answer.stderr


def test_help_lists_all_commands_and_every_exit_code() -> None:
    output = run("--help").output
    for name, (_, line) in COMMANDS.items():
        assert name in output
        assert line in output
    for code in ExitCode:
        assert f"{int(code):>7}  " in output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_help_is_the_commands_own(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name][1].rstrip(".")


def modules_of(line: str) -> set[str]:
    """Every module that an import statement may name, `from recsys.cli import rank` included."""
    words = line.replace(",", " ").replace("(", " ").split()
    names = words[words.index("import") + 1 :] if words[0] == "from" else []
    return {words[1], *(f"{words[1]}.{name}" for name in names)}


def test_commands_do_not_import_each_other_and_the_page_imports_none() -> None:
    rooms = [Path(recsys.__path__[0], room) for room in ("cli", "analyst", "service")]
    sources = [path for room in rooms for path in room.rglob("*.py")]
    assert len(sources) > len(COMMANDS)
    modules = {name for name, _ in COMMANDS.values()}
    for path in sources:
        lines = map(str.strip, path.read_text("utf-8").splitlines())
        imports = {line for line in lines if line.startswith(("from recsys.", "import recsys."))}
        imports = {module for line in imports for module in modules_of(line)}
        assert not imports & modules, f"{path} imports a command"
        in_room = path.is_relative_to(rooms[0])
        assert in_room or not any(each.startswith("recsys.cli") for each in imports), path


def test_every_help_fits_into_a_terminal_of_80_columns() -> None:
    texts = dict(_helps(cli, click.Context(cli, info_name="recsys")))
    assert {"recsys", "recsys users erase", "recsys world create"} <= texts.keys()
    wide = [(name, line) for name, text in texts.items() for line in text.splitlines() if line[80:]]
    assert wide == []


def _helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of help of a command and of all below it."""
    context.terminal_width = 78  # of 80 columns, the last two are left empty
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _helps(below, click.Context(below, parent=context, info_name=name))


def test_help_takes_less_than_half_a_second_of_the_processor() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "recsys.cli", "--help"]
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_other_packages_add_commands(entries: Path) -> None:
    result = run("fine")
    assert (result.exit_code, result.output) == (0, "fine\n")


def test_help_names_commands_of_others_and_survives_broken_ones(entries: Path) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("fine", "broken", "gone"):
        assert name in result.output
    assert "(cannot be loaded from broken_package)" in result.output


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken", "RuntimeError: broken at import"),
        ("gone", "no_such_package"),
        ("none", "must be a click command"),
    ],
)
def test_a_broken_entry_point_is_told_and_harms_no_other(
    entries: Path, name: str, says: str
) -> None:
    result = run(name)
    assert result.exit_code == ExitCode.FAILED
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert run("fine").exit_code == 0
    assert run("settings", "--json").exit_code == 0


def test_no_other_package_takes_a_command_away(entries: Path) -> None:
    assert "IMAGE..." in run("rank", "--help").output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = run("no-such-command")
    assert result.exit_code == ExitCode.USAGE
    assert "no-such-command" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (errors.InvalidRequest("a rule"), 2, "a rule"),
        (errors.ImageRefused("an image"), 2, "an image"),
        (errors.SettingsRefused("a setting"), 2, "a setting"),
        (errors.NotFound("no checkpoint"), 3, "no checkpoint"),
        (errors.CheckpointRefused("damaged"), 1, "damaged"),
        (errors.Overloaded("full"), 4, "full"),
        (errors.DeadlinePassed("late"), 4, "late"),
        (errors.Unavailable("loading"), 4, "loading"),
        (storage_errors.InvalidRecord("an id"), 2, "an id"),
        (storage_errors.UnknownUser("no user"), 3, "no user"),
        (storage_errors.UnknownImage("no image"), 3, "no image"),
        (storage_errors.SchemaMismatch("too old"), 1, "too old"),
        (storage_errors.StorageFull("no room"), 1, "no room"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.csv"), 3, "a.csv: no such file"),
        (OSError(errno.ENOSPC, "No space left on device", "b"), 1, "make room"),
        (PermissionError(errno.EACCES, "Permission denied", "c"), 1, "c: permission denied"),
    ],
)
def test_expected_errors_are_sentences(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, says: str
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(cli, "get_command", lambda *_: failing)
    result = run("failing")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_error_of_the_trees_has_a_code() -> None:
    for tree in (errors, storage_errors):
        types = [each for each in vars(tree).values() if isinstance(each, type)]
        kinds = [each for each in types if issubclass(each, Exception)]
        assert kinds
        assert all(explained(kind("said")) is not None for kind in kinds)


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(cli, "get_command", lambda *_: failing)
    assert isinstance(run("failing").exception, KeyError)


def test_ctrl_c_is_a_sentence_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "get_command", lambda *_: stopped)
    result = run("stopped")
    assert result.exit_code == 130
    assert result.stderr == "Error: stopped by Ctrl-C: what is stored already is kept\n"


def test_a_closed_pipe_is_no_failure_to_explain(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(cli, "get_command", lambda *_: failing)
    assert run("failing").stderr == ""


def test_a_failure_keeps_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise Failure("partly", ExitCode.PARTLY)

    monkeypatch.setattr(cli, "get_command", lambda *_: failing)
    assert run("failing").exit_code == 5


def test_set_gives_any_setting_for_one_call() -> None:
    result = run("--set", "max_queue=3", "--set", "address=a=b:1", "settings", "--json")
    shown = json.loads(result.stdout)
    assert shown["max_queue"] == {"value": "3", "origin": "flag"}
    assert shown["address"]["value"] == "a=b:1"


@pytest.mark.parametrize("flag", ["max_queue", "max_queu=3", "max_queue=none"])
def test_set_refuses_what_is_no_setting(flag: str) -> None:
    result = run("--set", flag, "settings")
    assert result.exit_code == ExitCode.USAGE
    assert "Traceback" not in result.output
