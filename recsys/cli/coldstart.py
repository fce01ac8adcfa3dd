"""`recsys coldstart`: what is borrowed from other people's choices for who has made few."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.output import show_json, show_table
from recsys.cli.progress import waiting
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.coldstart.records import OnboardingPair
    from storage.histories import HistoryStore


@click.group("coldstart")
def command() -> None:
    """Learn from everybody what helps people who have chosen little.

    `recsys serve` and `recsys rank --local` use what was learned last when they start; the setting
    cold_start=false switches it off.
    """


@command.command("fit")
@click.option(
    "--users",
    "max_users",
    type=click.IntRange(4),
    default=2000,
    show_default=True,
    help="Learn from at most so many, drawn at random.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--checkpoint", help="The scorer that it is learned for.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
def fit(max_users: int, seed: int, checkpoint: str | None, is_json: bool) -> None:
    """Learn classes of taste and how far to trust them.

    A fifth of the people is kept apart and decides: what does not help them gets no weight. Nothing
    that is stored names anybody.
    """
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime, waiting("Learning from choices"):
        from recsys.coldstart.data import read_people, token_reader
        from recsys.coldstart.fit import fit_cold_start
        from recsys.coldstart.pool import choose_onboarding
        from storage.coldstart.populations import StoredColdStart

        store, scorer = runtime.store, runtime.scorer
        people = read_people(store, max_users=max_users, seed=seed)
        if len(people.histories) < 4:
            raise Failure(
                "learning from other people takes at least 4 with a liked and a passed-over image,"
                f" got {len(people.histories)}: import more choices"
            )
        read = token_reader(scorer, store, people.images)
        learned, report = fit_cold_start(scorer, people.histories, read, seed=seed)
        onboarding = choose_onboarding(learned, people.histories, people.images, read, seed=seed)
        stored = StoredColdStart(
            scorer.model_version,
            report.num_users,
            report.num_pairs,
            learned.to_bytes(),
            onboarding,
        )
        runtime.cold_starts.put(stored)
    told = {
        "model_version": scorer.model_version,
        "population_version": learned.version,
        "num_users": report.num_users,
        "num_pairs": report.num_pairs,
        "num_classes": report.num_classes,
        "blends": [[round(float(value), 4) for value in row] for row in learned.blends],
    }
    _tell(told, is_json=is_json)


@command.command("show")
@click.option("--checkpoint", help="The scorer that it was learned for.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
def show(checkpoint: str | None, is_json: bool) -> None:
    """Show what was learned last; exit code 3 if nothing was."""
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        from recsys.coldstart.blend import ColdStart

        version = runtime.model_version
        stored = runtime.cold_starts.get(version)
    if stored is None:
        raise Failure(
            "nothing was learned for this model version: run `recsys coldstart fit`",
            ExitCode.NOT_FOUND,
        )
    try:
        learned = ColdStart.from_bytes(stored.data)
    except ValueError as error:
        raise Failure(str(error)) from error
    told: dict[str, object] = {
        "model_version": version,
        "population_version": learned.version,
        "created_at": stored.created_at.isoformat() if stored.created_at else None,
        "num_users": stored.num_users,
        "num_pairs": stored.num_pairs,
        "num_classes": len(learned.classes.shares),
        "blends": [[round(float(value), 4) for value in row] for row in learned.blends],
    }
    _tell(told, is_json=is_json)


@command.command("suggest")
@click.option(
    "-k",
    "num_pairs",
    type=click.IntRange(1, 8),
    default=4,
    show_default=True,
    help="How many pairs.",
)
@click.option(
    "--images",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the images into this folder, as 1a.png, 1b.png, 2a.png, ...",
)
@click.option("--checkpoint", help="The scorer that they were learned for.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
def suggest(num_pairs: int, folder: Path | None, checkpoint: str | None, is_json: bool) -> None:
    """Suggest pairs of images to show a new user.

    Those whose answers tell most about taste come first. They were chosen by `recsys coldstart fit`
    from images that people were shown; images and prompts of several people's choices where there
    are such.
    """
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        from recsys.coldstart.suggestions import learned_onboarding

        learned = learned_onboarding(runtime.cold_starts, runtime.model_version)
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
@click.option("--checkpoint", help="The scorer that it was learned for.")
def remove(checkpoint: str | None) -> None:
    """Forget what was learned."""
    settings = read_settings(checkpoint=checkpoint)
    with Runtime(settings) as runtime:
        was_there = runtime.cold_starts.remove(runtime.model_version)
    click.echo("forgotten" if was_there else "there was nothing to forget")


def _write_images(store: "HistoryStore", pairs: "Sequence[OnboardingPair]", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, pair in enumerate(pairs, start=1):
        for letter, sha256 in (("a", pair.first_sha256), ("b", pair.second_sha256)):
            kind = store.image_facts(sha256).media_type.removeprefix("image/")
            (folder / f"{place}{letter}.{kind}").write_bytes(store.image(sha256))


def _tell(told: dict[str, object], *, is_json: bool) -> None:
    if is_json:
        show_json(told)
        return
    blends = told.pop("blends")
    show_table(["of what is borrowed", ""], [(name, str(value)) for name, value in told.items()])
    assert isinstance(blends, list)
    click.echo("\nWeights by number of own references:")
    rows = [(str(count), *map(str, blend)) for count, blend in enumerate(blends)]
    show_table(["own", "others' taste", "model", "model for nobody"], rows)
