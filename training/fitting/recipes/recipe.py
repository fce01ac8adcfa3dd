"""What a recipe is made of: all values that decide a training run, beside its choices."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from recsys.images.preprocess import ImageGeometry
from recsys.scorer.adapter import LoraShape
from recsys.scorer.backbone import Quantization
from recsys.scorer.config import ScorerConfig
from recsys.scorer.template import TemplateConfig
from recsys.signatures.definition import READOUTS, Readout
from training.data.splits import SplitRule
from training.fitting.plan import Plan

DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True)
class Stage:
    """One of the paper's two stages (section 4.1).

    Attributes:
        plan: steps and rates.
        num_users: users in one part of a step.
        num_pairs: pairs to be told apart of each user, packed behind one prefix, at least 1.
    """

    plan: Plan
    num_users: int
    num_pairs: int


@dataclass(frozen=True)
class Precision:
    """How the base's weights are held in memory in one stage, and what it computes in.

    What is trained is float32 throughout.

    Attributes:
        dtype: of weights that are neither trained nor quantised, and of computation: "float32",
            "bfloat16", "float16" (with loss scaling), or "auto": bfloat16 where the device has it,
            else float16.
        quantization: of the linear layers: "none" or "nf4".
    """

    dtype: str
    quantization: Quantization


@dataclass(frozen=True)
class Base:
    """The model that is fine-tuned, and how it is held in memory.

    Attributes:
        geometry: how images are resized.
        source: hub id, or None for a folder named when the run begins.
        revision: commit of a hub id; None takes the newest.
        dtype, quantization: in stage 1, as in `Precision`.
        second_dtype, second_quantization: in stage 2.
        checkpointing: recompute activations in the backward pass instead of storing them.
        adapter: a folder or hub id of a PEFT adapter to begin with, in place of a fresh one.
    """

    geometry: ImageGeometry
    source: str | None = None
    revision: str | None = None
    dtype: str = "float32"
    quantization: Quantization = "none"
    second_dtype: str = "float32"
    second_quantization: Quantization = "none"
    checkpointing: bool = False
    adapter: str | None = None

    def __post_init__(self) -> None:
        for name in ("dtype", "second_dtype"):
            if (dtype := getattr(self, name)) not in DTYPES:
                raise ValueError(f"base.{name} must be one of {', '.join(DTYPES)}, got {dtype!r}")

    @property
    def first(self) -> Precision:
        """The precision of stage 1."""
        return Precision(self.dtype, self.quantization)

    @property
    def second(self) -> Precision:
        """The precision of stage 2."""
        return Precision(self.second_dtype, self.second_quantization)


@dataclass(frozen=True)
class SignatureRecipe:
    """How signatures are learned from the finished model.

    Attributes:
        num_probes: images that every user's signature is read from.
        dimension: E.
        num_orders: re-orderings of the references whose readings are averaged.
        weight: of the split-half objective in stage 2, beside L_all; 0: none.
        probes_a_step: probes read in each step of that objective, at least 1.
        ridge: added to the covariance within users, relative to a reading's variance.
        most_users: training users that projections are fitted on, at most.
        num_components: of attention that the objective's projections are fitted in: the directions
            in which it varies most.
        most_heads: heads whose attention is read, at most: those that tell best what scores say.
        attention_ridge: of the regression that reads attention, relative to all its variance.
        served: what signatures are read from; without preference tokens from scores.
    """

    num_probes: int = 32
    dimension: int = 16
    num_orders: int = 2
    weight: float = 0.0
    probes_a_step: int = 8
    ridge: float = 0.03
    most_users: int = 2000
    num_components: int = 40
    most_heads: int = 8
    attention_ridge: float = 0.01
    served: Readout = "both"

    def __post_init__(self) -> None:
        for name in (
            *("num_probes", "probes_a_step", "dimension"),
            *("num_orders", "num_components", "most_heads"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"signature.{name} must be at least 1, got {getattr(self, name)}")
        if self.served not in READOUTS:
            raise ValueError(
                f"signature.served must be one of {', '.join(READOUTS)}, got {self.served}"
            )

    @property
    def probe_parts(self) -> list[range]:
        """Which probes the steps of the split-half objective read: each step one part of them."""
        return [
            range(begin, min(begin + self.probes_a_step, self.num_probes))
            for begin in range(0, self.num_probes, self.probes_a_step)
        ]


@dataclass(frozen=True)
class Recipe:
    """All that decides a scorer, beside the choices it learns from.

    Attributes:
        name: of the recipe.
        base: the model that is fine-tuned.
        split: what is learned from and what is kept for validation and judging.
        scorer: number of references and preference tokens.
        template: the words around image, prompt and label.
        lora: adapter on the base.
        encodes_once: whether image tokens are computed once for the whole run, since nothing that
            makes them is trained; else images are read and encoded anew in each step.
        weighs_prompts: weigh a pair by 1 / (pairs with its prompt), as PickScore does.
        contrastive_weight: of L+ and L- in Eq. 5; the paper's is 1.
        fewer_references: share of samples, in [0, 1], with fewer than all references, so that the
            model also learns to serve new users; the paper trains with all 8 throughout.
        random_pair_order: in training, of each reference the liked or the disliked image is read
            first at random, so that labels are read and not places; served is the liked one first.
        balances_users: draw users alike in training; else by their number of pairs, as rows are
            drawn.
        token_start: what preference tokens begin with: "uniform" in [0, 1), "vocabulary", the
            embeddings of words drawn at random (Lester et al., 2021, section 2.1), or "base", those
            that lie beside a base which learned to read them; uniform where it has none, as a run
            then says.
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
    random_pair_order: bool = True
    balances_users: bool = True
    token_start: Literal["uniform", "vocabulary", "base"] = "uniform"
    signature: SignatureRecipe = field(default_factory=SignatureRecipe)

    def to_json(self) -> dict[str, Any]:
        """Plain values for run.json, by the names that its format has."""
        return asdict(self) | {"scorer": self.scorer.to_json()}
