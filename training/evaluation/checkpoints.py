"""Two checkpoints compared on the people in storage whom neither of them knows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from recsys.coldstart.fit import ENOUGH_USERS
from recsys.coldstart.learning import may_judge
from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.trained_on import joined, read_trained_on
from storage.histories import HistoryStore
from training.data.features import OpenTokens, features_of
from training.data.samples import read_pair_table
from training.evaluation.asked import ask
from training.evaluation.evaluate import MOST_PAIRS
from training.evaluation.four_ways import (
    FourWays,
    Possible,
    WayAnswers,
    answer,
    borrowed,
    compare_in_each_way,
    possible,
)
from training.evaluation.judge import LoadScorer
from training.evaluation.lending import lenders
from training.world.truth import WorldTruth


@dataclass(frozen=True)
class ComparedCheckpoints:
    """Two checkpoints on the same questions.

    Attributes:
        first, second: their model versions.
        comparison: the second against the first.
        num_lenders: people whose choices both blends borrow from; 0 where nothing is blended in.
        is_certain: whether both tell all whom they learned from; else some of these may be asked.
    """

    first: str
    second: str
    comparison: FourWays
    num_lenders: int
    is_certain: bool


@dataclass(frozen=True, eq=False)
class CheckpointAnswers:
    """What two checkpoints say of the same questions, by person.

    Attributes:
        first, second: their model versions.
        answers: of either.
        world: what is possible, where the world's truth is known.
        num_lenders, is_certain: as in `ComparedCheckpoints`.
    """

    first: str
    second: str
    answers: tuple[WayAnswers, WayAnswers]
    world: Possible | None
    num_lenders: int
    is_certain: bool

    def compared(self) -> ComparedCheckpoints:
        """The second checkpoint against the first."""
        return ComparedCheckpoints(
            self.first,
            self.second,
            compare_in_each_way(*self.answers, self.world),
            self.num_lenders,
            self.is_certain,
        )


def ask_checkpoints(
    first: str | Path,
    second: str | Path,
    store: HistoryStore,
    *,
    users: Collection[str] | None = None,
    most_users: int | None = None,
    blends: bool = True,
    truth: WorldTruth | None = None,
    seed: int = 0,
    limits: ImageLimits = DEFAULT_LIMITS,
    load: LoadScorer = load_scorer,
    image_tokens: OpenTokens | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> CheckpointAnswers:
    """Ask both about the newest choices of people whom neither learned from nor was chosen by.

    Everybody who is not asked lends, where they are `ENOUGH_USERS`; those of them whom neither
    checkpoint learned from decide how either is blended.

    Args:
        first, second: folders, or names of shipped ones.
        store: the people's choices, and the keys that tell whom a checkpoint learned from.
        users: of these alone; everybody by default.
        most_users: so many people, drawn by the seed; all by default.
        blends: whether others' taste is blended in, too.
        truth: of a synthetic world, for the best possible.
        seed: draws them.
        limits: of each image, bytes and pixels.
        load: reads a checkpoint, e.g. with its base from another place.
        image_tokens: opens where those of a scorer are kept; None: each scorer makes its own.
        progress: called with what is being measured.

    Raises:
        CheckpointRefused, NotFound: if one of them cannot be loaded.
        ValueError: if fewer than two people can be asked, or a user named is unknown.
    """
    folders = [find_checkpoint(each) for each in (first, second)]
    records = [read_trained_on(folder, store.keys.known()) for folder in folders]
    layers = [layer for each in records if each is not None for layer in each.layers]
    told = [each for each in layers if each.can_tell]
    known = joined(told)
    scorers = [load(folder) for folder in folders]
    table = read_pair_table(store)
    asked = ask(
        table,
        known,
        seed=seed,
        num_references=min(each.config.num_references for each in scorers),
        num_pairs=MOST_PAIRS,
        users=users,
        most_users=most_users,
    )
    if len(asked.unseen) < 2:
        raise ValueError(
            "at least two people in storage must be unknown to both checkpoints, got"
            f" {len(asked.unseen)} with enough choices: import more choices"
        )
    tokens = features_of(store, table.images, limits=limits, tokens=image_tokens)
    lent = lenders(table, asked.unseen, seed=seed) if blends else {}
    lent = lent if len(lent) >= ENOUGH_USERS else {}
    answers = []
    for name, scorer in zip(("first", "second"), scorers, strict=True):
        features = tokens(scorer)
        cold_start = None
        if lent:
            progress(f"{name} checkpoint: learning from others")
            cold_start = borrowed(scorer, lent, features, may_judge=may_judge(known, lent))
        progress(f"{name} checkpoint")
        answers.append(answer(scorer, features, asked.unseen, cold_start))
    one, other = (each.model_version for each in scorers)
    return CheckpointAnswers(
        one,
        other,
        (answers[0], answers[1]),
        possible(asked.unseen, table, truth),
        len(lent),
        is_certain=None not in records and len(told) == len(layers),
    )
