"""The shipped scorer's run: minutes on two cores, on the tiny base."""

from typing import Any

from recsys.scorer.adapter import LoraShape
from recsys.scorer.config import ScorerConfig
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import TemplateConfig
from training.data.splits import SplitRule
from training.fitting.plan import Plan
from training.fitting.pretraining.tiny_base import TINY, idefics2_values
from training.fitting.recipes.recipe import Base, Recipe, Stage

FAMILY = FAMILIES["idefics2"]


def tiny() -> Recipe:
    """The paper's two stages and loss; steps, rates and batch are chosen for this size.

    The adapter is on the decoder alone, so each image is encoded once for the whole run.
    """
    return Recipe(
        name="tiny",
        base=Base(geometry=TINY.geometry),
        split=SplitRule(validation_users=0.04, held_prompts=0.06, fewest_liked=11),
        scorer=ScorerConfig(num_references=8, num_preference_tokens=10),
        template=TemplateConfig(),
        lora=LoraShape(rank=32, alpha=64, dropout=0.0, targets=FAMILY.decoder_targets),
        encodes_once=True,
        first=Stage(
            Plan("stage1", num_steps=1800, learning_rate=2e-3, seed=1, validate_every=300),
            num_users=32,
            num_pairs=8,
        ),
        second=Stage(
            Plan(
                "stage2",
                num_steps=700,
                learning_rate=1e-2,
                num_warmup_steps=30,
                weight_decay=0.0,
                seed=2,
            ),
            num_users=32,
            num_pairs=8,
        ),
    )


def tiny_shape() -> dict[str, Any]:
    """Dimensions of the tiny base, as values of the library's configuration."""
    return idefics2_values(TINY, vocabulary=TINY.vocabulary, image_token=4)
