"""`recsys adapt`: a checkpoint adapted to the people in storage."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode, Failure, explained
from recsys.cli.invocation import read_settings
from recsys.cli.options import DEVICE, JSON
from recsys.cli.output import show_json
from recsys.runtime import Runtime
from training.cli.terminal import (
    FOLDER,
    ONLY,
    SEED,
    THREADS,
    TRUTH,
    failing_in_a_sentence,
    known_truth,
    open_console,
    show_grid,
    users_like,
)

if TYPE_CHECKING:
    from training.fitting.adapting.writing import Adapted


@click.command()
@click.argument("checkpoint", default="tiny")
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Folder for the adapted checkpoint, not there yet; the run's state is beside it, in"
    " OUT.run, until it is written.",
)
@ONLY
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Number of training steps.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=3e-2,
    show_default=True,
    help="Peak learning rate of the optimizer.",
)
@click.option(
    "--epsilon",
    type=float,
    help="Train with differential privacy of this epsilon for each person who is learned from.",
)
@click.option(
    "--delta",
    type=float,
    help="Chance that --epsilon does not hold; a tenth of 1 by the number of people, by default.",
)
@DEVICE
@TRUTH
@click.option("--force", is_flag=True, help="Write the checkpoint even if it does not help.")
@SEED
@JSON
@THREADS
def adapt(
    checkpoint: str,
    out: Path,
    only: str | None,
    steps: int,
    learning_rate: float,
    epsilon: float | None,
    delta: float | None,
    device: str | None,
    truth: Path | None,
    force: bool,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Adapt CHECKPOINT to the people in storage by its preference tokens alone.

    Of the people 70 % are learned from, 15 % choose the best weights, and 15 % are asked before and
    after, behind 0 to 8 of their own references, and as many as the model reads of those who have
    them. What is served decides: where cold start is on and 100 people can be borrowed from, 20 of
    whom are validated on, the gain of the blend behind 4 references and more, else that of the
    model alone. What does not help, with its 95 % interval, is not written; for what is written,
    cold start is fitted too, to the same people, so that it can be served at once. To resume, run
    the same command again.

    With --epsilon 85 % are learned from, each with a clipped gradient under noise, nobody chooses
    weights, signatures keep the parent's projections, and the model alone is compared: what is
    written to OUT tells next to nothing of anybody who was learned from, trained_on.json excepted.
    """
    if delta is not None and epsilon is None:
        raise click.UsageError("--delta is of --epsilon: give both")
    from training.fitting.adapting.adaptation import Adaptation
    from training.fitting.adapting.privacy import Privacy
    from training.fitting.adapting.tuning import Tuning

    with Runtime(read_settings(device=device)) as runtime, failing_in_a_sentence():
        users = users_like(runtime, only)
        adapted = Adaptation(
            checkpoint,
            runtime.store,
            out,
            open_console(threads),
            tuning=Tuning(
                num_steps=steps,
                learning_rate=learning_rate,
                seed=seed,
                privacy=None if epsilon is None else Privacy(epsilon, delta),
            ),
            users=users,
            limits=runtime.image_limits,
            image_tokens=runtime.image_tokens_of,
            load=runtime.load_scorer,
            writes_anyway=force,
            blends=runtime.settings.cold_start,
            truth=known_truth(runtime, truth),
        ).run()
        if not is_json:
            _tell(adapted)  # before anything else can fail or be stopped
        failure = _let_borrow(runtime, adapted, users, only, is_json=is_json)
    if failure is not None:
        raise failure
    if not adapted.is_written:
        raise Failure(
            f"the adapted {adapted.comparison.decided_by} must do better than its parent's on"
            f" people held out, and gains {_gained(adapted)}: nothing is written; import more"
            " choices, or pass --force"
        )


def _let_borrow(
    runtime: Runtime,
    adapted: "Adapted",
    users: Collection[str] | None,
    only: str | None,
    *,
    is_json: bool,
) -> Failure | None:
    """Fit cold start for what was written, and tell it; returns why it could not be fitted."""
    command = ["recsys", "coldstart", "fit", "--checkpoint", str(adapted.folder)]
    later = shlex.join(command if only is None else [*command, "--only", only])
    is_asked = adapted.is_written and runtime.settings.cold_start
    lends = is_asked and _has_lenders(adapted)
    failure = _fit_cold_start(runtime, adapted.folder, users, later) if lends else None
    borrows = lends and failure is None
    if is_json:
        show_json({**adapted.to_json(), "cold_start_is_fitted": borrows})
    elif borrows:
        click.echo("cold start is fitted for it")
    elif is_asked and failure is None:
        click.echo(
            "cold start is not fitted for it, for too few people can be borrowed from: until"
            f" `{later}` it borrows nothing"
        )
    return failure


def _has_lenders(adapted: "Adapted") -> bool:
    from recsys.coldstart.fit import ENOUGH_USERS

    return sum(adapted.num_people.values()) >= ENOUGH_USERS


def _fit_cold_start(
    runtime: Runtime, folder: Path, users: Collection[str] | None, later: str
) -> Failure | None:
    """Fit it to the people of the adaptation, as the command that does so later."""
    from recsys.coldstart.learning import learn_cold_start
    from recsys.scorer.trained_on import read_trained_on

    try:
        scorer = runtime.load_scorer(folder)
        learned = learn_cold_start(
            scorer,
            runtime.store,
            known=read_trained_on(folder, runtime.store.keys.known()),
            tokens=runtime.image_tokens_of(scorer),
            limits=runtime.image_limits,
            rules=runtime.settings.sharing_rules,
            lends=None if users is None else frozenset(users).__contains__,
        )
        runtime.cold_starts.put(learned.stored())
    except Exception as error:
        why = explained(error) or (str(error) if isinstance(error, ValueError) else None)
        if why is None:
            raise
        return Failure(
            f"{folder} is written, but cold start is not fitted for it ({why}): until `{later}`"
            " it borrows nothing",
            ExitCode.PARTLY,
        )
    for caution in learned.cautions():
        click.echo(f"warning: {caution}", err=True)
    return None


def _tell(adapted: "Adapted") -> None:
    for grid in adapted.comparison.grids():
        show_grid(grid)
    for sentence in adapted.comparison.verdict():
        click.echo(sentence)
    people = adapted.num_people
    click.echo(
        f"{people['comparison']} people judged, {people['learned']} were learned from and"
        f" {people['validation']} validated on; {adapted.seconds:.0f} s"
    )
    if adapted.private is not None:
        privacy = adapted.private
        click.echo(
            f"({privacy.epsilon:.3g}, {privacy.delta:.2g})-differentially private for each of the"
            f" {privacy.num_people} people who were learned from"
        )
    if not adapted.is_certain:
        click.echo(
            f"{adapted.parent} does not say whom it learned from: everybody is counted as unseen"
        )
    if adapted.is_written:
        click.echo(f"checkpoint: {adapted.folder}")


def _gained(adapted: "Adapted") -> str:
    from training.evaluation.section import points, with_interval

    return f"{with_interval(adapted.comparison.gain, points)} points"
