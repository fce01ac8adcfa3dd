"""The cold-start table of `recsys evaluate` in the terminal."""

from collections.abc import Mapping
from typing import Any

import click

from recsys.commands.shown import show_table

_WAYS = {
    "alone": "model alone",
    "classes": "others' taste alone",
    "borrowing": "both: what is served",
    "best_possible": "best possible",
}


def show_cold_start(block: Mapping[str, Any]) -> None:
    """Print what borrowing is worth behind few own references.

    Args:
        block: of `training.coldstart_judge.judge_cold_start`, as plain JSON.
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
    if "closed" in first:
        rows.append(
            ("share of the distance", *(_percent(each["closed"]) for each in found.values()))
        )
    show_table(["pairs told right by own references", *found], rows)


def _percent(figure: Mapping[str, Any]) -> str:
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
