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
        scorer=ScorerConfig(num_references=24, num_preference_tokens=12),
        template=TemplateConfig(),
        lora=LoraShape(rank=32, alpha=64, dropout=0.0, targets=FAMILY.decoder_targets),
        encodes_once=True,
        token_start="base",
        fewer_references=24 / 25,  # so each number from 0 is drawn as often
        first=Stage(
            Plan(
                "stage1",
                num_steps=240,
                learning_rate=5e-4,
                token_learning_rate=3e-2,
                seed=1,
                num_parts=2,
                validate_every=80,
            ),
            num_users=16,
            num_pairs=8,
        ),
        second=Stage(
            Plan(
                "stage2",
                num_steps=150,
                learning_rate=1e-2,
                num_warmup_steps=30,
                weight_decay=0.0,
                seed=2,
                num_parts=2,
            ),
            num_users=16,
            num_pairs=8,
        ),
    )


def tiny_shape() -> dict[str, Any]:
    """Dimensions of the tiny base, as values of the library's configuration."""
    return idefics2_values(TINY, vocabulary=TINY.vocabulary, image_token=4)
