"""Two checkpoints compared on the people in storage whom neither of them knows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.coldstart.fit import ENOUGH_JUDGES, ENOUGH_USERS, HELD_OUT
from recsys.coldstart.learning import may_judge
from recsys.history import Pair
from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.trained_on import TrainedOn, joined, read_trained_on
from storage.histories import HistoryStore
from training.data.features import OpenTokens, features_of
from training.data.samples import PairTable, read_pair_table
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
from training.evaluation.questions import REFERENCE_COUNTS, Samples
from training.world.truth import WorldTruth


@dataclass(frozen=True)
class ComparedCheckpoints:
    """Two checkpoints on the same questions.

    Attributes:
        first, second: their model versions.
        comparison: the second against the first.
        num_lenders: people whose choices both blends borrow from; 0 where nothing is blended in.
        num_strangers: those of them whom neither is known to have learned from: they alone decide
            how either is blended.
        is_certain: whether both tell all whom they learned from; else some of these may be asked.
    """

    first: str
    second: str
    comparison: FourWays
    num_lenders: int
    num_strangers: int
    is_certain: bool


@dataclass(frozen=True, eq=False)
class Lending:
    """Who is asked, and whose choices both blends borrow from.

    Attributes:
        asked: samples of those who are asked.
        lent: pairs of each of the others; nobody's where they are too few, or too few may judge.
        may_judge: of each of these, whether they may decide how a checkpoint is blended; None:
            all, for nobody is known.
    """

    asked: Samples
    lent: Mapping[str, tuple[Pair, ...]]
    may_judge: Sequence[bool] | None

    @property
    def num_strangers(self) -> int:
        """How many may judge."""
        return len(self.lent) if self.may_judge is None else sum(self.may_judge)


@dataclass(frozen=True, eq=False)
class CheckpointAnswers:
    """What two checkpoints say of the same questions, by person.

    Attributes:
        first, second: their model versions.
        answers: of either.
        world: what is possible, where the world's truth is known.
        num_lenders, num_strangers, is_certain: as in `ComparedCheckpoints`.
    """

    first: str
    second: str
    answers: tuple[WayAnswers, WayAnswers]
    world: Possible | None
    num_lenders: int
    num_strangers: int
    is_certain: bool

    def compared(self) -> ComparedCheckpoints:
        """The second checkpoint against the first."""
        return ComparedCheckpoints(
            self.first,
            self.second,
            compare_in_each_way(*self.answers, self.world),
            self.num_lenders,
            self.num_strangers,
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
    checkpoint learned from decide how either is blended, as `lending` has it.

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
        fewest_references=REFERENCE_COUNTS[-1],
        users=users,
        most_users=most_users,
    )
    if len(asked.unseen) < 2:
        raise ValueError(
            "at least two people in storage must be unknown to both checkpoints, got"
            f" {len(asked.unseen)} with enough choices: import more choices"
        )
    tokens = features_of(store, table.images, limits=limits, tokens=image_tokens)
    people = Lending(asked.unseen, {}, None)
    if blends:
        people = lending(table, asked.unseen, known, seed=seed)
    answers = []
    for name, scorer in zip(("first", "second"), scorers, strict=True):
        features = tokens(scorer)
        cold_start = None
        if people.lent:
            progress(f"{name} checkpoint: learning from others")
            cold_start = borrowed(scorer, people.lent, features, may_judge=people.may_judge)
        progress(f"{name} checkpoint")
        answers.append(answer(scorer, features, people.asked, cold_start))
    one, other = (each.model_version for each in scorers)
    return CheckpointAnswers(
        one,
        other,
        (answers[0], answers[1]),
        possible(people.asked, table, truth),
        num_lenders=len(people.lent),
        num_strangers=people.num_strangers,
        is_certain=None not in records and len(told) == len(layers),
    )


def lending(table: PairTable, unseen: Samples, known: TrainedOn | None, *, seed: int) -> Lending:
    """Let everybody who is not asked lend, and people whom neither checkpoint knows decide.

    Somebody whom one checkpoint learned from and the other did not would trust the one too much.
    Where those who lend have fewer than `ENOUGH_JUDGES` others, as all others are asked, a fifth
    of these are not asked and lend.

    Args:
        table: all pairs.
        unseen: who could be asked, in random order.
        known: whom the checkpoints are known to have learned from; None: nobody is known.
        seed: draws who lends, where they are too many.
    """
    lent = lenders(table, unseen, seed=seed)
    may = may_judge(known, lent)
    asked = unseen
    if may is not None and sum(may) < ENOUGH_JUDGES:
        apart = list(unseen)[: int(HELD_OUT * len(unseen))]
        own = replace(table, pairs={user: table.pairs[user] for user in apart})
        asked = {user: each for user, each in unseen.items() if user not in own.pairs}
        lent = {**lenders(own, (), seed=seed), **lent}
        may = may_judge(known, lent)
    is_enough = len(lent) >= ENOUGH_USERS and (may is None or sum(may) >= ENOUGH_JUDGES)
    return Lending(asked, lent, may) if is_enough else Lending(unseen, {}, None)
