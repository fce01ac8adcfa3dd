"""Single values of a recipe replaced by name: `--set` of `recsys train` and `pretrain`."""

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

_Recipe = TypeVar("_Recipe")


def override(recipe: _Recipe, assignments: Sequence[str]) -> _Recipe:
    """A recipe with values replaced, e.g. "scorer.num_preference_tokens=0".

    Args:
        recipe: to begin with; a data class.
        assignments: dotted name = value; the value is JSON, else text as it stands.

    Raises:
        ValueError: if a name is not the recipe's, or a value is of another type, or not finite.
    """
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise ValueError(f"an override must be NAME=VALUE, got {assignment!r}")
        recipe = _replaced(recipe, name.split("."), value, assignment)
    return recipe


def _replaced(owner: Any, path: Sequence[str], value: str, assignment: str) -> Any:
    names = [each.name for each in fields(owner)]
    if path[0] not in names:
        raise ValueError(f"{assignment!r} must name one of {', '.join(names)}")
    old = getattr(owner, path[0])
    if len(path) > 1 and is_dataclass(old):
        return replace(owner, **{path[0]: _replaced(old, path[1:], value, assignment)})
    if is_dataclass(old):
        inner = ", ".join(f"{path[0]}.{each.name}" for each in fields(old))
        raise ValueError(f"{assignment!r} must name one value: one of {inner}")
    try:
        new = json.loads(value)
    except ValueError:
        new = value
    if not isinstance(old, str) and _is_not_finite(new):
        raise ValueError(f"{assignment!r} must give a finite number")
    if isinstance(old, float) and isinstance(new, int):
        new = float(new)
    if isinstance(old, tuple) and isinstance(new, list):
        new = tuple(new)
    if old is not None and type(new) is not type(old):
        raise ValueError(f"{assignment!r} must give a value like {old!r}")
    return replace(owner, **{path[0]: new})


def _is_not_finite(value: Any) -> bool:
    """Whether a value is NaN or infinite, or the word for it as Python spells it."""
    try:
        return isinstance(value, str | float) and not math.isfinite(float(value))
    except ValueError:
        return False
