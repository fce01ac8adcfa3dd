"""How long packed rows are, by arithmetic, with words and prompts of an assumed length."""

from recsys.scorer.backbone import Dimensions
from training.fitting.recipes.recipe import Recipe

PROMPT_TOKENS = 20
"""Assumed length of a prompt; at most the template's limit."""

WORDS_TOKENS = 12
"""Assumed for the template's fixed words and label beside one image."""


def row_tokens(recipe: Recipe, sizes: Dimensions, num_pairs: int) -> int:
    """L of a packed row: P_v, start of text, references with labels, candidates without.

    Args:
        recipe: number of references and preference tokens, limit of a prompt.
        sizes: of the base.
        num_pairs: pairs to be told apart.
    """
    return _row_tokens(recipe, sizes, 2 * num_pairs)


def probe_row_tokens(recipe: Recipe, sizes: Dimensions) -> int:
    """L of a row of the split-half objective: likewise, with probes as candidates.

    Args:
        recipe, sizes: as of `row_tokens`.
    """
    return _row_tokens(recipe, sizes, len(recipe.signature.probe_parts[0]))


def _row_tokens(recipe: Recipe, sizes: Dimensions, num_candidates: int) -> int:
    each = sizes.image_places + WORDS_TOKENS + min(PROMPT_TOKENS, recipe.template.max_prompt_tokens)
    before = recipe.scorer.num_preference_tokens + 1 + 2 * recipe.scorer.num_references * each
    return int(before + num_candidates * (each - 1))
