"""`recsys coldstart`: what rankings for users with few choices borrow from other users."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import CHECKPOINT, DEVICE, DTYPE, JSON
from recsys.cli.output import show_json, show_table
from recsys.cli.progress import waiting
from recsys.coldstart.limits import MAX_USERS
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.coldstart.records import FirstQuestion
    from storage.histories import HistoryStore


@click.group("coldstart")
def command() -> None:
    """Learn from all users how to rank for those with few choices.

    `recsys serve` and `recsys rank --local` load the result when they start; the setting
    cold_start=false switches it off.
    """


@command.command("fit")
@click.option(
    "--users",
    "max_users",
    type=click.IntRange(4),
    default=MAX_USERS,
    show_default=True,
    help="Most users to learn from, drawn at random.",
)
@click.option(
    "--only", metavar="PATTERN", help="Pattern of the ids of users to learn from, e.g. 'north-*'."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random draws."
)
@CHECKPOINT
@DEVICE
@DTYPE
@JSON
def fit(
    max_users: int,
    only: str | None,
    seed: int,
    checkpoint: str | None,
    device: str | None,
    dtype: str | None,
    is_json: bool,
) -> None:
    """Fit classes of taste, and the weight of each source for every number of own choices.

    Up to a fifth of the users is held out and decides the weights: what does not help them gets
    none. They are users whom the checkpoint did not learn from, unless these are fewer than a fifth
    and than 20. The result names no user.
    """
    settings = read_settings(checkpoint=checkpoint, device=device, dtype=dtype)
    with Runtime(settings) as runtime, waiting("Fitting"):
        from recsys.coldstart.learning import learn_cold_start
        from recsys.scorer.checkpoint import find_checkpoint
        from recsys.scorer.trained_on import read_trained_on

        store, scorer = runtime.store, runtime.scorer
        try:
            known = read_trained_on(find_checkpoint(settings.checkpoint), store.keys.known())
        except ValueError as error:
            raise Failure(str(error)) from error
        learned = learn_cold_start(
            scorer,
            store,
            known=known,
            tokens=runtime.image_tokens_of(scorer),
            limits=runtime.image_limits,
            rules=settings.sharing_rules,
            lends=None if only is None else lambda user_id: fnmatchcase(user_id, only),
            max_users=max_users,
            seed=seed,
        )
        runtime.cold_starts.put(learned.stored())
    report, blends = learned.report, learned.cold_start.blends
    facts = {
        "model_version": learned.model_version,
        "population_version": learned.cold_start.version,
        "num_users": report.num_users,
        "num_pairs": report.num_pairs,
        "num_classes": report.num_classes,
        "num_judges": report.num_judges,
        "known_users_decided": report.num_unknown is not None,
        "blends": [[round(float(value), 4) for value in row] for row in blends],
    }
    _show(facts, is_json=is_json)
    for caution in learned.cautions():
        click.echo(f"warning: {caution}", err=True)
    if not learned.questions.pairs:
        from recsys.coldstart.first_questions import remedy

        why = remedy(settings.sharing_rules)
        click.echo(f"warning: no first question was chosen: {why}", err=True)


@command.command("show")
@CHECKPOINT
@JSON
def show(checkpoint: str | None, is_json: bool) -> None:
    """Show the last fit; exit code 3 if there is none."""
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        from recsys.coldstart.population import ColdStart

        version = runtime.model_version
        stored = runtime.cold_starts.get(version)
    if stored is None:
        raise Failure(
            "there is no fit for this model version: run `recsys coldstart fit`",
            ExitCode.NOT_FOUND,
        )
    try:
        learned = ColdStart.from_bytes(stored.data)
    except ValueError as error:
        raise Failure(str(error)) from error
    facts: dict[str, object] = {
        "model_version": version,
        "population_version": learned.version,
        "created_at": stored.created_at.isoformat() if stored.created_at else None,
        "num_users": stored.num_users,
        "num_pairs": stored.num_pairs,
        "num_classes": len(learned.classes.shares),
        "blends": [[round(float(value), 4) for value in row] for row in learned.blends],
    }
    _show(facts, is_json=is_json)


@command.command("suggest")
@click.option(
    "-k",
    "num_pairs",
    type=click.IntRange(1, 8),
    default=4,
    show_default=True,
    help="Number of first questions.",
)
@click.option(
    "--images",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the images to this folder, as 1a.png, 1b.png, 2a.png, ...",
)
@click.option(
    "--user", help="Id of the user to ask; nothing is suggested if they are not personalised."
)
@CHECKPOINT
@JSON
def suggest(
    num_pairs: int, folder: Path | None, user: str | None, checkpoint: str | None, is_json: bool
) -> None:
    """Suggest first questions to a new user: pairs of images to choose between.

    The most informative pairs come first. `recsys coldstart fit` picked them from images that are
    marked as shareable and that share_min_users users or more have seen.
    """
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        from recsys.coldstart.first_questions import learned_first_questions

        if user is not None:
            runtime.store.check_storable(user)
            runtime.consents.check(user)
        learned = learned_first_questions(
            runtime.cold_starts, runtime.model_version, settings.sharing_rules
        )
        pairs = learned.pairs[:num_pairs]
        if folder is not None:
            _write_images(runtime.store, pairs, folder)
    if is_json:
        show_json(
            {
                "population_version": learned.population_version,
                "pairs": [dataclasses.asdict(pair) for pair in pairs],
            }
        )
        return
    show_table(
        ["pair", "first", "second", "prompt", "bits so far"],
        [
            (place, pair.first_sha256, pair.second_sha256, pair.prompt, pair.information_bits)
            for place, pair in enumerate(pairs, start=1)
        ],
    )


@command.command("remove")
@CHECKPOINT
def remove(checkpoint: str | None) -> None:
    """Remove the last fit from storage; choices are kept."""
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        was_there = runtime.cold_starts.remove(runtime.model_version)
    click.echo("the fit is removed" if was_there else "there is no fit to remove")


def _write_images(store: "HistoryStore", pairs: "Sequence[FirstQuestion]", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, pair in enumerate(pairs, start=1):
        for letter, sha256 in (("a", pair.first_sha256), ("b", pair.second_sha256)):
            kind = store.image_facts(sha256).media_type.removeprefix("image/")
            (folder / f"{place}{letter}.{kind}").write_bytes(store.image(sha256))


def _show(facts: dict[str, object], *, is_json: bool) -> None:
    if is_json:
        show_json(facts)
        return
    from recsys.coldstart.blend import TERMS

    blends = facts.pop("blends")
    show_table(["property", "value"], [(name, str(value)) for name, value in facts.items()])
    assert isinstance(blends, list)
    click.echo("\nWeight of each source by number of own references:")
    rows = [(str(count), *map(str, blend)) for count, blend in enumerate(blends)]
    show_table(["own", *TERMS], rows)
