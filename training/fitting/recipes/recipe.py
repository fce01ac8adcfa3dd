"""Complete named configurations of a training run, as functions."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from recsys.images.preprocess import ImageGeometry
from recsys.scorer.adapter import LoraShape
from recsys.scorer.backbone import Quantization
from recsys.scorer.model import ScorerConfig
from recsys.scorer.template import TemplateConfig
from training.data.splits import SplitRule
from training.fitting.pretraining.tiny_base import TINY, TinyShape
from training.fitting.trainer import Plan


@dataclass(frozen=True)
class Stage:
    """One of the paper's two stages (section 4.1).

    Attributes:
        plan: schedule.
        num_users: users in a step's batch.
        num_pairs: target pairs of each user behind one packed prefix, at least 1.
    """

    plan: Plan
    num_users: int
    num_pairs: int


@dataclass(frozen=True)
class Base:
    """The model that is taught, and how it is held in memory.

    Attributes:
        source: hub id, or None for a folder named when the run begins.
        revision: commit of a hub id; None takes the newest.
        dtype: of weights, or of computation when quantised: "float32", "float16", "bfloat16".
        quantization: of the base's linear layers in stage 1: "none" or "nf4".
        second_dtype, second_quantization: the same in stage 2.
        geometry: how images are resized.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        adapter: a folder or hub id of a PEFT adapter to begin with, in place of a fresh one.
    """

    source: str | None = None
    revision: str | None = None
    dtype: str = "float32"
    quantization: Quantization = "none"
    second_dtype: str = "float32"
    second_quantization: Quantization = "none"
    geometry: ImageGeometry = TINY.geometry
    checkpointing: bool = False
    adapter: str | None = None


@dataclass(frozen=True)
class SignatureRecipe:
    """How signatures are made of what the finished model shows.

    Attributes:
        num_probes: images that everybody gets.
        dimension: E.
        num_orders: re-orderings of the references whose readings are averaged.
        weight: in stage 2, of two halves of a history finding each other, beside L_all; 0: none.
        probes_a_step: probes read in each step of that.
        ridge: added to the spread within users, relative to a reading's variance.
        most_users: training users that projections are fitted on.
    """

    num_probes: int = 32
    dimension: int = 16
    num_orders: int = 2
    weight: float = 1.0
    probes_a_step: int = 8
    ridge: float = 0.03
    most_users: int = 2000


@dataclass(frozen=True)
class Recipe:
    """All that decides a scorer, beside the choices it learns from.

    Attributes:
        name: of the recipe.
        base: the model that is taught.
        split: what is learned from and what is kept for validation and judging.
        scorer: number of references and preference tokens.
        template: the words around image, prompt and label.
        lora: adapter on the base.
        encodes_once: whether image tokens are computed once for the whole run, since nothing that
            makes them is trained; else images are read and encoded anew in each step.
        weighs_prompts: count a pair 1 / (pairs with its prompt), as PickScore does.
        contrastive_weight: of L+ and L- in Eq. 5; the paper's is 1.
        fewer_references: share of samples with fewer than all references, so that new users are
            not strangers; the paper trains with all 8 throughout.
        first: adapter and preference tokens are trained.
        second: all is frozen but the preference tokens.
        signature: probes, objective and projections.
    """

    name: str
    base: Base
    split: SplitRule
    scorer: ScorerConfig
    template: TemplateConfig
    lora: LoraShape
    first: Stage
    second: Stage
    encodes_once: bool = False
    weighs_prompts: bool = False
    contrastive_weight: float = 1.0
    fewer_references: float = 0.25
    signature: SignatureRecipe = field(default_factory=SignatureRecipe)


@dataclass(frozen=True)
class PretrainRecipe:
    """All that decides a tiny base model.

    Attributes:
        shape: dimensions.
        seed: decides images, weights and order.
        num_prompts, images_per_prompt: size of the pool of rendered images.
        captions: schedule of the first part.
        caption_batch: images a step, mirrored at random.
        captioned: so many of them are also continued by their caption, which costs as much again.
        caption_weight: of the caption's cross entropy beside the attributes' squared error.
        interleaved: schedule of the second part.
        interleaved_batch: sequences a step.
        num_references, num_pairs: references and target pairs of a sequence.
        readout_weight: of two readings that a small model does not come upon by itself: an
            image's own attributes behind the first block, and behind the second what the liked
            images had more of than the disliked ones. Without them it ignores the labels.
    """

    shape: TinyShape = TINY
    seed: int = 0
    num_prompts: int = 5000
    images_per_prompt: int = 8
    captions: Plan = field(
        default_factory=lambda: Plan(
            "captions", num_steps=10_000, learning_rate=1.5e-3, muon=True, muon_learning_rate=3e-3
        )
    )
    caption_batch: int = 32
    captioned: int = 8
    caption_weight: float = 0.1
    interleaved: Plan = field(
        default_factory=lambda: Plan(
            "interleaved", num_steps=2000, learning_rate=3e-3, muon=True, muon_learning_rate=5e-3
        )
    )
    interleaved_batch: int = 32
    num_references: int = 8
    num_pairs: int = 8
    readout_weight: float = 1.0


def tiny() -> Recipe:
    """The shipped scorer: minutes on two cores, from the tiny base.

    The paper's two stages and loss; the steps, rates and batch are this size's own. The adapter is
    on the decoder alone, so each image is encoded once for the whole run.
    """
    return Recipe(
        name="tiny",
        base=Base(),
        split=SplitRule(validation_users=0.04, held_prompts=0.06, fewest_liked=11),
        scorer=ScorerConfig(num_references=8, num_preference_tokens=10),
        template=TemplateConfig(),
        lora=LoraShape(rank=32, alpha=64, dropout=0.0, targets=r".*text_model.*_proj"),
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


def recipe_digest(recipe: Recipe | PretrainRecipe) -> str:
    """SHA-256 of all values of a recipe: runs of different recipes must not mix."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()
