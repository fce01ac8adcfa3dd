"""The cold-start table of `recsys evaluate` in the terminal."""

from collections.abc import Mapping
from typing import Any

import click

from recsys.cli.output import show_table

_WAYS = {
    "alone": "model alone",
    "classes": "others' taste alone",
    "borrowing": "both: what is served",
    "best_possible": "best possible",
}


def show_cold_start(block: Mapping[str, Any]) -> None:
    """Print what borrowing is worth behind few own references.

    Args:
        block: of `training.evaluation.coldstart_judge.judge_cold_start`, as plain JSON.
    """
    found = block["by_references"]
    click.echo(
        f"\nCold start: {block['num_lent_pairs']:,} pairs of {block['num_lenders']:,} others,"
        f" {block['num_classes']} classes of taste"
    )
    first = next(iter(found.values()))
    rows = [
        (label, *(_percent(each[way]) for each in found.values()))
        for way, label in _WAYS.items()
        if way in first
    ]
    rows.append(("gain, points", *(_percent(each["gain"]) for each in found.values())))
    if any("closed" in each for each in found.values()):
        closed = (_percent(each["closed"]) if "closed" in each else "" for each in found.values())
        rows.append(("share of the distance, %", *closed))
    show_table(["pairs told right by own references", *found], rows)
    if block["onboarding"] is not None:
        _show_onboarding(block["onboarding"]["by_answers"])


def _show_onboarding(found: Mapping[str, Any]) -> None:
    click.echo("\nFirst questions to a new user, answers to pairs of images; others' taste alone")
    ways = {"suggested": "suggested pairs", "random": "random pairs", "gain": "gain, points"}
    rows = [
        (label, *(_percent(each[way]) for each in found.values())) for way, label in ways.items()
    ]
    show_table(["pairs told right by answers", *map(str, found)], rows)


def _percent(figure: Mapping[str, Any]) -> str:
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
