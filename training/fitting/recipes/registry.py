"""All recipes by name: a new one is a module of its own and a line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.fitting.recipes.idefics2_8b import (
    idefics2_8b,
    idefics2_8b_recommended,
    idefics2_8b_shape,
)
from training.fitting.recipes.recipe import Recipe
from training.fitting.recipes.tiny import tiny, tiny_shape


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe and the dimensions of its base.

    Attributes:
        build: the recipe.
        base_shape: dimensions of its base, as values of the library's configuration; what a dry
            run counts.
    """

    build: Callable[[], Recipe]
    base_shape: Callable[[], dict[str, Any]]


RECIPES = {
    "tiny": NamedRecipe(tiny, tiny_shape),
    "idefics2_8b": NamedRecipe(idefics2_8b, idefics2_8b_shape),
    "idefics2_8b_recommended": NamedRecipe(idefics2_8b_recommended, idefics2_8b_shape),
}
