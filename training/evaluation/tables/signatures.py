"""The signature table of `recsys evaluate` in the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from recsys.cli.output import show_table


def show_signatures(block: Mapping[str, Any]) -> None:
    """Print what was measured of signatures, or why nothing was.

    Args:
        block: of `training.evaluation.signature_judge.judge_signatures`, as plain JSON.
    """
    if "why" in block:
        click.echo(f"signatures not measured: {block['why']}", err=True)
        return
    click.echo(
        f"\nSignatures of {block['num_users']} users never learned from,"
        f" read from {block['num_references']} references of each"
    )
    heads = ["signature", "taste", "of ceiling", "other half"]
    rows = [
        (name, _told(row.get("taste")), _share(row.get("of_ceiling")), _told(row.get("mrr")))
        for name, row in block["rivals"].items()
    ]
    less = block["shipped_minus"]
    rows.append(("shipped less image_difference", _told(less.get("taste")), "", _told(less["mrr"])))
    show_table(heads, rows)
    click.echo(
        "taste: of the 10 nearest users, 0 random users, 1 the true nearest; other half: mean"
        f" reciprocal rank, {block['chance_mrr']:.3f} by chance\n"
    )
    show_table(["how settled, and communities", "value"], list(_settled(block)))


def _settled(block: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "cosine to the same references in other orders", _told(block["stability"])
    for count, figure in block["drift"].items():
        yield f"cosine of {count} references to the whole history", _told(figure)
    communities = block.get("communities", {})
    for name in ("shipped", "shipped_whole", "true_taste"):
        if name in communities:
            what = f"{communities['num_clusters']} clusters with communities, adjusted Rand index"
            yield f"{what}: {name}", f"{communities[name]:.3f}"


def _told(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _share(figure: Mapping[str, Any] | None) -> str:
    return "" if figure is None else f"{100 * figure['value']:.1f} %"
