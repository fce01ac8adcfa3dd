"""The ways, by name: what each trains of a frozen scorer, at which rate, and whom it draws."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from recsys.coldstart.fit import ReadTokens
from recsys.coldstart.population import ColdStart
from recsys.scorer.adapter import LoraShape, adapter_of, add_adapter
from recsys.scorer.model import PreferenceScorer
from tests.benchmarks.adapting_ways.class_tokens import ClassScorer
from tests.benchmarks.adapting_ways.key_value_prefix import KeyValuePrefix
from training.data.batches import Batches, Draws
from training.data.samples import PairTable, Sample
from training.fitting.adapting.learning import NUM_USERS, step_draws
from training.fitting.adapting.tuning import Tuning
from training.fitting.assembly import first_parameters, second_parameters
from training.fitting.objective import PreferenceOf

TOKEN_RATE = Tuning().learning_rate
"""Of P_v, as `recsys adapt` has it."""

FEW_REFERENCES = 4
_ATTENTION = r".*text_model.*(q_proj|k_proj|v_proj|o_proj)"
_PREFIX = "key_value_prefix"


@dataclass(frozen=True, eq=False)
class Start:
    """A scorer before a way trains it.

    Attributes:
        scorer: is asked afterwards.
        parameters: trained, by name; none where the checkpoint is measured as it is.
        preference: preference tokens of each sample's user in training; None: the scorer's own.
    """

    scorer: PreferenceScorer
    parameters: Mapping[str, nn.Parameter] = field(default_factory=dict)
    preference: PreferenceOf | None = None


@dataclass(frozen=True)
class Given:
    """What a way may begin with.

    Attributes:
        scorer: the checkpoint's, frozen, and nobody else's.
        cold_start: of the population, for the checkpoint as it is.
        read_tokens: image tokens of those who are learned from.
    """

    scorer: PreferenceScorer
    cold_start: Callable[[], ColdStart]
    read_tokens: ReadTokens


@dataclass(frozen=True)
class Way:
    """One way of adapting.

    Attributes:
        name: short.
        trains: in words, for the table.
        begin: makes what is trained; the number is `rank`.
        learning_rate: of all that it trains but P_v, whose rate is `TOKEN_RATE`.
        rank: of what it adds; 0 where nothing has a rank.
        few_share: of a step's people, those drawn behind none to `FEW_REFERENCES`; the others are
            drawn behind any number.
    """

    name: str
    trains: str
    begin: Callable[[Given, int], Start]
    learning_rate: float = TOKEN_RATE
    rank: int = 0
    few_share: float = 0.0

    @property
    def key(self) -> str:
        """Names its files: other values are another run."""
        values = [self.learning_rate, TOKEN_RATE, self.rank, self.few_share, FEW_REFERENCES]
        return f"{self.name}-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]}"

    def draws(self, table: PairTable, *, num_references: int, seed: int) -> Draws:
        """What a step draws.

        Args:
            table: what is learned from.
            num_references: that the scorer reads at most.
            seed: decides.
        """
        num_few = round(self.few_share * NUM_USERS)
        rest = step_draws(
            table, num_references=num_references, seed=seed, num_users=NUM_USERS - num_few
        )
        if not num_few:
            return rest
        most = min(FEW_REFERENCES, num_references)
        few = step_draws(table, num_references=most, seed=seed + 1, num_users=num_few)
        return Together((few, rest))


@dataclass(frozen=True, eq=False)
class Together:
    """Draws the samples of several draws for each step."""

    each: tuple[Batches, ...]

    def draw(self, step: int, part: int) -> list[Sample]:
        """The samples of a part of a step."""
        return [sample for drawn in self.each for sample in drawn.draw(step, part)]


def _nothing(given: Given, rank: int) -> Start:
    return Start(given.scorer)


def _tokens(given: Given, rank: int) -> Start:
    return Start(given.scorer, second_parameters(given.scorer))


def _classes(given: Given, rank: int) -> Start:
    scorer = ClassScorer(given.scorer, given.cold_start()).eval()
    trained = {"class_tokens": scorer.class_tokens}
    return Start(scorer, trained, scorer.in_training(given.read_tokens))


def _prefix(given: Given, rank: int) -> Start:
    scorer = given.scorer
    scorer.add_module(_PREFIX, KeyValuePrefix(scorer, rank=rank))
    terms = {name: each for name, each in scorer.named_parameters() if name.startswith(_PREFIX)}
    return Start(scorer, terms | second_parameters(scorer))


def _lora(given: Given, rank: int) -> Start:
    scorer = given.scorer
    if adapter_of(scorer) is not None:
        raise ValueError(
            "the checkpoint's own adapter must be merged when it is loaded, so that another one"
            " can be put on: give a checkpoint in float32"
        )
    shape = LoraShape(rank=rank, alpha=2 * rank, dropout=0.0, targets=_ATTENTION)
    scorer.backbone.model = add_adapter(scorer.backbone.model, shape)
    scorer.has_own_adapter = True  # the fresh one, which is all that it has
    return Start(scorer, first_parameters(scorer))


UNADAPTED = Way("model", "nothing", _nothing)
ADAPTED = Way("adapted", "P_v, as `recsys adapt` does", _tokens)
WAYS = (
    Way("classes", "P_v of each latent class, mixed by the person's classes", _classes),
    Way("few", "P_v, three of four people behind 0 to 4 references", _tokens, few_share=0.75),
    Way("prefix", "P_v, and terms of their keys and values in each layer", _prefix, 1e-2, rank=2),
    Way("lora", "P_v, and LoRA on attention's projections", _lora, 2e-3, rank=2),
)
"""In the order in which they are tried."""
