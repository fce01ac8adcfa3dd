"""What the demonstration leaves behind, and the commands it runs on it."""

import shlex
import subprocess
from io import StringIO

import click
import pytest
from rich.console import Console

from recsys.cli.failures import ExitCode, Failure
from recsys.settings import load_settings
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.demo.__main__ import main
from training.demo.commands import DemoStorage, exports, learn, run, show_next
from training.demo.people import synthetic_cast


def test_its_help_fits_into_a_terminal_of_80_columns():
    context = click.Context(main, info_name="python -m training.demo", terminal_width=78)
    assert [line for line in main.get_help(context).splitlines() if line[80:]] == []


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_CHECKPOINT", raising=False)
    made = DemoStorage(tmp_path / "a place" / "data")
    made.begin()
    upgrade(database := Database(made.settings["database_url"]))
    database.dispose()
    return made


@pytest.fixture
def console():
    return Console(file=StringIO(), width=200)


def test_what_is_exported_means_the_same_storage_to_a_shell(storage) -> None:
    lines = [*exports(storage, {}), "env"]
    shown = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    for name, value in load_settings(dict(storage.settings)).settings:
        if name in storage.settings:
            assert f"RECSYS_{name.upper()}={value}" in shown.stdout.splitlines()


def test_the_checkpoint_of_the_environment_is_exported_too(storage) -> None:
    assert "export RECSYS_CHECKPOINT='my run'" in exports(storage, {"RECSYS_CHECKPOINT": "my run"})
    assert not any("CHECKPOINT" in line for line in exports(storage, {}))


def test_an_earlier_run_gives_way_and_nothing_else_does(storage, tmp_path) -> None:
    (storage.folder / "blobs").mkdir()
    storage.begin()
    assert [path.name for path in storage.folder.iterdir()] == ["README.txt"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(click.ClickException, match="holds other files"):
        DemoStorage(tmp_path / "data").begin()
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"


def test_a_command_that_fails_is_told_and_survived(storage, console, capsys) -> None:
    assert not run(storage, console, "clusters", "list")
    output = console.file.getvalue()
    assert "$ recsys clusters list" in output
    assert "recsys clusters build" in output  # what to do
    assert run(storage, console, "settings")
    assert str(storage.folder) in capsys.readouterr().out


def test_ctrl_c_in_a_command_ends_the_demonstration(storage, console, monkeypatch) -> None:
    def stopped(*words, **options):
        raise Failure("stopped by Ctrl-C", ExitCode.INTERRUPTED)

    monkeypatch.setattr("training.demo.commands.cli.main", stopped)
    with pytest.raises(Failure, match="Ctrl-C"):
        run(storage, console, "backfill")


def test_a_checkpoint_without_signatures_is_told_in_a_sentence(
    storage, console, monkeypatch
) -> None:
    monkeypatch.setattr("recsys.signatures.files.has_signature", lambda _: False)
    assert not learn(storage, console)
    output = console.file.getvalue()
    assert "must ship probes and a projection to read signatures by" in output
    assert "Neighbours and clusters are left out." in output
    assert "clusters build" not in output
    assert "$ recsys coldstart fit" in output


def test_without_signatures_their_commands_are_not_named(storage, console) -> None:
    show_next(storage, console, user_id="an n", has_signatures=False)
    output = console.file.getvalue()
    assert "users show 'an n'" in output
    assert "similar" not in output
    assert "analyst" not in output
    assert "adapt" not in output
    show_next(storage, console, user_id="an n", has_signatures=True)
    named = [shlex.split(line, comments=True)[1:] for line in console.file.getvalue().split("\n")]
    assert ["analyst"] in [words[:1] for words in named if words]


def test_where_the_users_are_real_the_command_that_adapts_to_them_is_named(
    storage, console, monkeypatch
) -> None:
    monkeypatch.setenv("RECSYS_CHECKPOINT", "my run")
    show_next(storage, console, user_id="ann", has_signatures=False, names_adapt=True)
    (line,) = [line for line in console.file.getvalue().splitlines() if " adapt " in line]
    _, *words = shlex.split(line)
    assert words == ["adapt", "my run", "--out", str(storage.folder.parent / "adapted")]


@pytest.mark.slow
def test_learning_on_a_few_people_and_then_asking_who_is_near(
    storage, console, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("training.demo.people.NUM_USERS", 12)
    database = Database(storage.settings["database_url"])
    store = HistoryStore(database, BlobStore(storage.settings["blob_url"]))
    cast = synthetic_cast(store, tmp_path, progress=lambda what, done, total: None)
    assert set(cast.general) == {candidate.id for candidate in cast.candidates}
    assert learn(storage, console)
    capsys.readouterr()
    user = cast.people[0].user_id
    assert run(storage, console, "similar", "--user", user, "-k", "3", "--json")
    assert run(storage, console, "coldstart", "show", "--json")
    out = capsys.readouterr().out
    assert '"similarity"' in out
    assert '"num_users": 12' in out
    database.dispose()
