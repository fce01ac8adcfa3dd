"""All that decides a tiny base model: dimensions, images, and the plans of its two parts."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from training.fitting.plan import Plan
from training.fitting.pretraining.tiny_base import TINY, TinyShape


@dataclass(frozen=True)
class RuleRecipe:
    """Whose rules the labels of interleaved sequences follow.

    Attributes:
        num_populations: in a part of a step, each with communities of its own.
        fewest_communities, most_communities: of a population.
        sure: share of the steps, the first ones, in which every sequence is told of its person's
            own population: so that the decoder learns what these tokens are good for.
        told: share of the other sequences whose preference tokens tell of a population's
            communities.
        trust: share of these that are of a person of it; the others' person is anybody.
        num_sets: of communities that anybody may be of.
        num_tastes: of anybody, drawn for a part of a step to infer from; of each population a
            quarter as many.
    """

    num_populations: int = 2
    fewest_communities: int = 6
    most_communities: int = 12
    sure: float = 0.5
    told: float = 0.7
    trust: float = 0.7
    num_sets: int = 4000
    num_tastes: int = 8000


_OF_CAPTIONS = (
    "shape",
    "seed",
    "num_prompts",
    "images_per_prompt",
    "captions",
    "caption_batch",
    "captioned",
    "caption_weight",
)


@dataclass(frozen=True)
class PretrainRecipe:
    """All that decides a tiny base model.

    Attributes:
        shape: dimensions.
        seed: decides images, weights and order.
        num_prompts, images_per_prompt: how many images are rendered.
        captions: plan of the first part.
        caption_batch: images in a part of a step, mirrored at random.
        captioned: so many of them are also continued by their caption, which costs as much again.
        caption_weight: of the caption's cross entropy beside the attributes' squared error.
        interleaved: plan of the second part.
        rules: whose rules the labels follow.
        num_preference_tokens: places before a sequence where it is told of communities; with none
            it is told of none, whatever `rules` say.
        interleaved_pairs: in a part of a step, references and pairs to be told apart.
        num_references, few_references: of a sequence, at most; in half of all parts, at most.
        num_pairs: of a sequence, to be told apart.
        random_pair_order: of each reference, the liked or the disliked image first at random.
        contrastive_weight: of L+ and L-.
        readout_weight: of auxiliary losses, without which a small model ignores the labels:
            reading an image's own attributes behind the first block, behind the second what the
            liked images had more of than the disliked ones, and behind the last but one the taste
            that the references tell of; these two behind every reference.
    """

    shape: TinyShape = TINY
    seed: int = 0
    num_prompts: int = 5000
    images_per_prompt: int = 8
    captions: Plan = field(
        default_factory=lambda: Plan(
            "captions",
            num_steps=8000,
            learning_rate=1.5e-3,
            num_parts=2,
            muon=True,
            muon_learning_rate=3e-3,
        )
    )
    caption_batch: int = 16
    captioned: int = 4
    caption_weight: float = 0.1
    interleaved: Plan = field(
        default_factory=lambda: Plan(
            "interleaved",
            num_steps=3000,
            learning_rate=3e-3,
            num_parts=2,
            muon=True,
            muon_learning_rate=5e-3,
        )
    )
    rules: RuleRecipe = field(default_factory=RuleRecipe)
    num_preference_tokens: int = 12
    interleaved_pairs: int = 256
    num_references: int = 24
    few_references: int = 8
    num_pairs: int = 8
    random_pair_order: bool = True
    contrastive_weight: float = 1.0
    readout_weight: float = 1.0

    @property
    def rules_told(self) -> RuleRecipe:
        """The rules as far as there are places to tell of communities at."""
        return self.rules if self.num_preference_tokens else replace(self.rules, sure=0.0, told=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the digest that states of the second part are bound to."""
        return asdict(self)

    def caption_values(self) -> dict[str, Any]:
        """Those of them that decide the first part, which a change of the second leaves alone."""
        values = self.to_json()
        return {name: values[name] for name in _OF_CAPTIONS}
