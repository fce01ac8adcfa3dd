"""The demonstration: from nothing to three users' own rankings of the same images, over gRPC.

Then neighbours, clusters and cold start, and the model adapted to a new population. It runs the
shipped checkpoint and a server in a process of its own, on a free port, and leaves the data beside
the picture for the commands that it prints.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table

from recsys.client import RecsysClient
from recsys.counts import counted
from recsys.images.decode import decode
from recsys.ranking.candidates import Candidate, Ranking
from recsys.scorer.borrowed import NOTHING_BORROWED
from storage.histories import HistoryStore
from training.cli.terminal import showing_progress
from training.demo.commands import DemoStorage, learn, run, show_next
from training.demo.new_population import NewPopulation, show_adaptation
from training.demo.people import Cast, Person, agreement, rated_cast, synthetic_cast
from training.world.contact_sheet import LIKED, PASSED_OVER, SheetRow, Tile, contact_sheet, save_png

Pixels = UInt8[np.ndarray, "H W 3"]

_NUM_SHOWN = 8
_NUM_NEIGHBOURS = 5
_NEWCOMER = "newcomer"

_ON_PHOTOGRAPHS = (
    "The shipped model was trained on drawn scenes: on photographs, expect little more than chance "
    "until it is trained on choices among them.\n"
)

_NOT_ADAPTED = (
    "Adapting the model to these users is left out, for it takes minutes and many users: `recsys "
    "adapt`, among the commands below, does it, or says what is missing.\n"
)


def play(data: Path | None, out: Path) -> None:
    """Rank for three users, find neighbours and clusters, fit cold start, and adapt the model.

    Args:
        data: folder with items.csv, ratings.csv and images/; None for the synthetic world.
        out: where the picture goes; a folder data/ beside it gets the choices and the images.

    Raises:
        ClickException: if something cannot be done; the message says why.
    """
    console = Console()
    storage = DemoStorage(out.parent / "data")
    storage.begin()
    with storage.runtime() as runtime:
        with tempfile.TemporaryDirectory(prefix="recsys-demo-") as temporary:
            cast = _people(data, runtime.store, Path(temporary), console)
        before = _rank_for_three(
            storage, runtime.store, cast, out, console, is_real=data is not None
        )
    someone = cast.people[0].user_id
    has_signatures = learn(storage, console)
    if has_signatures:
        run(storage, console, "similar", "--user", someone, "-k", str(_NUM_NEIGHBOURS))
    with _serving(storage, console) as address, RecsysClient(address) as client:
        _show_newcomer(cast, before, client.rank(_NEWCOMER, cast.candidates), console)
    if data is None:
        show_adaptation(console, NewPopulation())
    else:
        console.print(_NOT_ADAPTED, soft_wrap=True)
    console.print(f"Histories and rankings as a picture: [bold]{out}[/bold]")
    show_next(
        storage,
        console,
        user_id=someone,
        has_signatures=has_signatures,
        names_adapt=data is not None,
    )


def _rank_for_three(
    storage: DemoStorage,
    store: HistoryStore,
    cast: Cast,
    out: Path,
    console: Console,
    *,
    is_real: bool,
) -> Ranking:
    """Rank for each person and draw the picture; return the ranking for a user without choices."""
    with _serving(storage, console) as address, RecsysClient(address) as client:
        rankings = [client.rank(person.user_id, cast.candidates) for person in cast.people]
        _show_orders(cast, rankings, console)
        if is_real:
            console.print(_ON_PHOTOGRAPHS, soft_wrap=True)
        save_png(_sheet(store, cast, rankings), out)  # before a new choice joins the histories
        _choose_and_rank_again(client, cast, rankings, console)
        return client.rank(_NEWCOMER, cast.candidates)


def _people(data: Path | None, store: HistoryStore, folder: Path, console: Console) -> Cast:
    if data is not None:
        try:
            with console.status("importing real ratings"):
                return rated_cast(data, store, folder)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error
    with showing_progress(console) as progress:
        return synthetic_cast(store, folder, progress=progress)


@contextmanager
def _serving(storage: DemoStorage, console: Console) -> Iterator[str]:
    """Run a server in a process of its own, as in production; yields its address."""
    serve = ("serve", "--address", "127.0.0.1:0")
    command = [sys.executable, "-m", "recsys.cli", *storage.flags, *serve]
    with (
        tempfile.TemporaryFile("w+") as log,  # a pipe that nobody reads would fill up and block it
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as run,
    ):
        try:
            assert run.stdout is not None
            with console.status("starting the server"):
                line = run.stdout.readline()
            if not line.startswith("serving on "):
                run.kill()
                log.seek(0)
                raise click.ClickException(f"the server did not start: {log.read().strip()}")
            yield line.split()[-1]
        finally:
            run.terminate()


def _show_orders(cast: Cast, rankings: Sequence[Ranking], console: Console) -> None:
    """Print the three rankings side by side, and how each agrees with that person's taste."""
    table = Table(title=f"The same {len(cast.candidates)} images, ranked for three users")
    table.add_column("rank", justify="right", no_wrap=True, min_width=4)
    for person, ranking in zip(cast.people, rankings, strict=True):
        table.add_column(
            f"{person.user_id}\n{person.description}\n"
            f"{ranking.personalization.value}, {counted(ranking.num_references, 'reference')}",
            overflow="fold",
        )
    for place in range(len(cast.candidates)):
        cells = [f"{r.candidates[place].score:.3f}  {r.candidates[place].id}" for r in rankings]
        table.add_row(str(place + 1), *cells)
    console.print(table)
    for person, ranking in zip(cast.people, rankings, strict=True):
        others = [agreement(_order(ranking), p.worth) for p in cast.people if p is not person]
        console.print(
            f"{person.user_id}: {agreement(_order(ranking), person.worth):.0%} of pairs are in the "
            f"order of this user's true taste, {sum(others) / len(others):.0%} in that of the "
            "other two (50 % is chance)",
            soft_wrap=True,
        )
    console.print(f"model version {rankings[0].model_version[:12]}\n")


def _choose_and_rank_again(
    client: RecsysClient, cast: Cast, rankings: Sequence[Ranking], console: Console
) -> None:
    """Let the first person like the best image and pass over the worst; the ranking may change."""
    person = cast.people[0]
    by_worth = sorted(cast.candidates, key=lambda candidate: person.worth[candidate.id])
    worst, best = by_worth[0], by_worth[-1]
    stored = client.record_choice(
        person.user_id, liked=best.image, passed_over=[worst.image or b""], prompt=best.prompt
    )
    rest = [candidate for candidate in cast.candidates if candidate not in (worst, best)]
    again = client.rank(person.user_id, rest)
    before = [name for name in _order(rankings[0]) if name not in (worst.id, best.id)]
    console.print(
        f"{person.user_id} now likes {best.id} and passes over {worst.id} "
        f"(revision {stored.stored.revision}). The other images before and after:",
        soft_wrap=True,
    )
    for title, order in (("before", before), ("after", _order(again))):
        line = f"  {title:>6}: {', '.join(order)}  ({agreement(order, person.worth):.0%})"
        console.print(line, soft_wrap=True)
    console.print()


def _show_newcomer(cast: Cast, before: Ranking, after: Ranking, console: Console) -> None:
    """Print the ranking for a new user: the model alone, and blended with other users' choices."""
    borrowed = after.borrowed
    pairs, users = borrowed.num_references, borrowed.num_neighbours
    lent = f"borrowed: {counted(pairs, 'pair')} of {counted(users, 'user')}"
    if borrowed == NOTHING_BORROWED:
        lent = "nothing borrowed"
    console.print(
        f"A new user, without choices: {after.personalization.value}, {lent}. In brackets: the"
        " share of pairs in the order of the mean taste of all users.",
        soft_wrap=True,
    )
    for title, ranking in (("model alone", before), ("with cold start", after)):
        order = _order(ranking)
        line = f"  {title:>15}: {', '.join(order)}  ({agreement(order, cast.general):.0%})"
        console.print(line, soft_wrap=True)
    console.print()


def _order(ranking: Ranking) -> list[str]:
    return [candidate.id for candidate in ranking.candidates]


def _sheet(store: HistoryStore, cast: Cast, rankings: Sequence[Ranking]) -> Pixels:
    """Return a picture of each person's history and ranking, one below the other."""
    images = {candidate.id: candidate for candidate in cast.candidates}
    rows: list[SheetRow] = []
    for person, ranking in zip(cast.people, rankings, strict=True):
        rows += _history_rows(store, person)
        tiles = [
            Tile(_pixels(_bytes(images[each.id])), label=f"{each.rank}.  {each.score:.3f}")
            for each in ranking.candidates
        ]
        rows.append(SheetRow(f"{person.user_id}: new images, best first", tiles))
    return contact_sheet(rows, "What three users chose, and the same images ranked for each")


def _history_rows(store: HistoryStore, person: Person) -> list[SheetRow]:
    choices = [
        stored.choice
        for stored in store.read(person.user_id).choices
        if stored.choice.liked is not None and stored.choice.passed_over
    ][-_NUM_SHOWN:]
    liked = [Tile(_pixels(store.image(str(c.liked))), c.prompt, LIKED) for c in choices]
    passed = [Tile(_pixels(store.image(c.passed_over[0])), frame=PASSED_OVER) for c in choices]
    name = f"{person.user_id} ({person.description})"
    return [SheetRow(f"{name}: liked", liked), SheetRow(f"{name}: passed over", passed)]


def _pixels(data: bytes) -> Pixels:
    return np.asarray(decode(data).permute(1, 2, 0))


def _bytes(candidate: Candidate) -> bytes:
    assert candidate.image is not None
    return candidate.image
