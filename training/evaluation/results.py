"""A judgement's results: typed by table, and as plain JSON."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

import numpy as np

from training.evaluation.section import Section
from training.evaluation.tables.registry import TABLES
from training.evaluation.tables.table import R, ReportTable


@dataclass(frozen=True)
class Results:
    """What was judged, and each table's results.

    Attributes:
        checkpoint: name of its folder.
        model_version: the checkpoint's.
        data_digest: of the histories.
        created_at: ISO 8601, UTC.
        seed: of questions, controls and the intervals of opposed pairs.
        num_references: read for each user.
        device: where it computed, e.g. "cuda:0".
        dtype: in which type, e.g. "bfloat16".
        by_table: by the table's name; None where the data did not allow it.
        notes: what a reader must know before believing a figure.
    """

    checkpoint: str
    model_version: str
    data_digest: str
    created_at: str
    seed: int
    num_references: int
    device: str
    dtype: str
    by_table: Mapping[str, object]
    notes: tuple[str, ...] = ()

    def of(self, table: ReportTable[R]) -> R | None:
        """The results of a table; None where it was not measured."""
        return cast(R | None, self.by_table.get(table.name))

    def sections(self) -> Iterator[Section]:
        """What people read, table by table."""
        for table in TABLES:
            result = self.of(table)
            section = None if result is None else table.section(result)
            if section is not None:
                yield section


def as_json(results: Results) -> dict[str, Any]:
    """The results as report.json holds them: figures as objects, what is not finite as null.

    A part that a table's results may lack is left out.
    """
    head = {each.name: getattr(results, each.name) for each in fields(results)}
    del head["by_table"]
    laid_out: dict[str, Any] = plain(head)
    for table in TABLES:
        _merge(laid_out, plain(table.laid_out(results.of(table))))
    return laid_out


def plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON's own types, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: plain(each) for name, each in parts.items() if each is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Merge deep; what is null stays so where nothing but nulls would come into it."""
    for key, value in more.items():
        if isinstance(into.get(key), dict) and isinstance(value, dict):
            _merge(into[key], value)
        elif key not in into or not _is_nothing(value):
            into[key] = value


def _is_nothing(value: Any) -> bool:
    return isinstance(value, dict) and all(each is None for each in value.values())
