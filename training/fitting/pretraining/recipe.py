"""All that decides a tiny base model: dimensions, images, and the plans of its two parts."""

from dataclasses import asdict, dataclass, field
from typing import Any

from training.fitting.plan import Plan
from training.fitting.pretraining.tiny_base import TINY, TinyShape


@dataclass(frozen=True)
class PretrainRecipe:
    """All that decides a tiny base model.

    Attributes:
        shape: dimensions.
        seed: decides images, weights and order.
        num_prompts, images_per_prompt: how many images are rendered.
        captions: plan of the first part.
        caption_batch: images a step, mirrored at random.
        captioned: so many of them are also continued by their caption, which costs as much again.
        caption_weight: of the caption's cross entropy beside the attributes' squared error.
        interleaved: plan of the second part.
        interleaved_batch: sequences a step.
        num_references, num_pairs: references of a sequence, and pairs to be told apart.
        random_pair_order: of each reference, the liked or the disliked image first at random.
        readout_weight: of two auxiliary losses, without which a small model ignores the labels:
            reading an image's own attributes behind the first block, and behind the second what
            the liked images had more of than the disliked ones.
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
    random_pair_order: bool = True
    readout_weight: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the digest that states are bound to."""
        return asdict(self)
