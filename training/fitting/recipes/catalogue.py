"""All recipes by name, and how one value of a recipe is changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from training.fitting.pretraining.tiny_base import TINY, idefics2_values
from training.fitting.recipes.idefics2_8b import SHAPE, idefics2_8b
from training.fitting.recipes.recipe import Recipe, tiny

SHAPES: dict[str, Callable[[], dict[str, Any]]] = {
    "tiny": lambda: idefics2_values(TINY, vocabulary=TINY.vocabulary, image_token=4),
    "idefics2_8b": lambda: SHAPE,
}
"""Dimensions of each recipe's base, as values of the library's configuration."""

RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "idefics2_8b": idefics2_8b}


def changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """A recipe with values replaced, e.g. "scorer.num_preference_tokens=0".

    Args:
        recipe: to begin with.
        changes: dotted name = value; the value is JSON, or text where it is none.

    Raises:
        ValueError: if a name is not the recipe's, or a value is of another type.
    """
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator:
            raise ValueError(f"a change must be NAME=VALUE, got {change!r}")
        recipe = _replaced(recipe, name.split("."), value, change)
    return recipe


def _replaced(owner: Any, path: Sequence[str], value: str, change: str) -> Any:
    names = [each.name for each in fields(owner)]
    if path[0] not in names:
        raise ValueError(f"{change!r} must name one of {', '.join(names)}")
    old = getattr(owner, path[0])
    if len(path) > 1 and is_dataclass(old):
        return replace(owner, **{path[0]: _replaced(old, path[1:], value, change)})
    try:
        new = json.loads(value)
    except ValueError:
        new = value
    if isinstance(old, float) and isinstance(new, int):
        new = float(new)
    if isinstance(old, tuple) and isinstance(new, list):
        new = tuple(new)
    if old is not None and type(new) is not type(old):
        raise ValueError(f"{change!r} must give a value like {old!r}")
    return replace(owner, **{path[0]: new})
