"""What `make demo` leaves behind: a storage in a folder, and commands to run on it.

The commands are called as a user would call them, with settings that name that storage.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from recsys.cli.failures import ExitCode
from recsys.cli.main import cli
from recsys.runtime import Runtime
from recsys.settings import load_settings

_NOTE = "README.txt"
_NOTE_TEXT = """\
Made by `make demo`, which replaces this folder each time.

recsys.db   choices, signatures, clusters and cold start (SQLite)
blobs/      the images
index/      snapshots of the signature index, if it is large enough to need them

To use it:

"""


@dataclass(frozen=True)
class DemoStorage:
    """Where the demonstration's data is.

    Attributes:
        folder: of all of it.
    """

    folder: Path

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings that name it."""
        folder = self.folder.resolve()
        return {
            "database_url": f"sqlite:///{folder / 'recsys.db'}",
            "blob_url": f"file://{folder / 'blobs'}",
            "index_folder": str(folder / "index"),
        }

    @property
    def flags(self) -> list[str]:
        """The same as flags of a `recsys` command, and one thread.

        For so small a model, two threads on a busy machine take several times as long.
        """
        values = {**self.settings, "num_threads": "1"}
        return [w for name, value in values.items() for w in ("--set", f"{name}={value}")]

    def runtime(self) -> Runtime:
        """Return what the settings name; to be closed by the caller."""
        return Runtime(load_settings(self.settings).settings, creates=True)

    def begin(self) -> None:
        """Create the folder, in place of that of an earlier run.

        Raises:
            ClickException: if the folder exists and no earlier run created it.
        """
        is_own = (self.folder / _NOTE).exists()
        if not is_own and self.folder.exists() and any(self.folder.iterdir()):
            raise click.ClickException(
                f"{self.folder} must be empty or from an earlier demonstration, and holds other"
                " files: choose another place with --out"
            )
        if is_own:
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _NOTE).write_text(_NOTE_TEXT + "\n".join(exports(self)) + "\n", "utf-8")


def exports(storage: DemoStorage, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return shell commands that point `recsys` at the data and at the checkpoint in use."""
    values = dict(storage.settings)
    if checkpoint := environment.get("RECSYS_CHECKPOINT"):
        values["checkpoint"] = checkpoint
    return [f"export RECSYS_{name.upper()}={shlex.quote(v)}" for name, v in values.items()]


def learn(storage: DemoStorage, console: Console) -> bool:
    """Compute all signatures, cluster the users, and fit what new users borrow.

    Returns:
        Whether there are signatures; if the checkpoint ships nothing to read them by, the command
        has said so.
    """
    run(storage, console, "backfill")
    if has_signatures := _has_signatures(storage):
        run(storage, console, "clusters", "build")
        run(storage, console, "clusters", "list")
    else:
        console.print("Neighbours and clusters are left out.\n")
    run(storage, console, "coldstart", "fit")
    return has_signatures


def run(storage: DemoStorage, console: Console, *words: str) -> bool:
    """Print a command and run it on the data; a failure is printed, and does not stop the rest.

    Returns:
        Whether it succeeded.

    Raises:
        ClickException: if it was stopped by Ctrl-C.
    """
    console.print(f"[bold]$ recsys {shlex.join(words)}[/bold]", soft_wrap=True)
    try:
        code = cli.main([*storage.flags, *words], prog_name="recsys", standalone_mode=False)
    except click.ClickException as error:
        if error.exit_code == ExitCode.INTERRUPTED:
            raise
        console.print(error.format_message(), markup=False, soft_wrap=True)
        return False
    finally:
        console.print()
    return not code


def show_next(
    storage: DemoStorage,
    console: Console,
    *,
    user_id: str,
    has_signatures: bool,
    names_adapt: bool = False,
) -> None:
    """Print commands to explore the data with, ready to be copied."""
    recsys = _program()
    about = shlex.quote(user_id)
    lines = [*exports(storage), f"{recsys} users show {about}", f"{recsys} coldstart show"]
    if has_signatures:
        lines += [
            f"{recsys} similar --user {about} -k 5",
            f"{recsys} clusters list    # then: clusters show NUMBER",
            f"{recsys} analyst",
        ]
    if names_adapt:
        checkpoint = load_settings(storage.settings).settings.checkpoint
        folder = storage.folder.with_name("adapted")
        lines.append(f"{recsys} adapt {shlex.join([str(checkpoint), '--out', str(folder)])}")
    console.print("To explore these users further, copy into a shell:\n")
    for line in lines:
        console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)


def _has_signatures(storage: DemoStorage) -> bool:
    with storage.runtime() as runtime:
        return bool(runtime.signatures.summaries())


def _program() -> str:
    """Return the path of this Python's `recsys`, as short as possible."""
    path = Path(sys.executable).parent / "recsys"
    if not path.exists():
        return "recsys"
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
