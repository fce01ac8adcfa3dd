"""Which vectors find neighbours of like taste, and how settled the shipped signatures are.

Taste needs a world whose truth is known; finding the other half of a history needs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Readout
from recsys.signatures.files import has_signature, load_signature_readers
from training.data.features import Features
from training.data.samples import PairTable, Sample
from training.evaluation.bounds import of_this_world
from training.evaluation.history_cuts import Cut, cut_histories
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure, over_users
from training.evaluation.plots import signature_plot
from training.evaluation.questions import NUM_REFERENCES
from training.evaluation.retrieval import (
    NUM_NEAREST,
    chance_of_ranks,
    ratio_of_means,
    reciprocal_ranks,
    taste_scale,
)
from training.evaluation.section import (
    NOTHING,
    Cell,
    Grid,
    Plot,
    Section,
    known,
    number,
    percent,
    with_interval,
)
from training.evaluation.signature_judge import Both, SignatureJudge
from training.evaluation.signature_rivals import SHIPPED, RivalVectors
from training.evaluation.signature_world import (
    CEILING,
    STRANGERS,
    agreement,
    labelled_by_strangers,
    posterior_tastes,
)
from training.evaluation.tables.table import ReportTable
from training.world.truth import WorldTruth

FEWEST_USERS = 2 * NUM_NEAREST
BASELINE = "image_difference"
WHOLE = "shipped_whole"
TRUE = "true_taste"

NAMES = {
    "shipped_whole": "shipped, of what the service reads",
    "scores": "the probes' scores, projected",
    "attention": "attention where scores are read, projected",
    "both": "scores and attention together, projected",
    "attention_eq6": "attention as in Eq. 6",
    "attention_full": "attention sliced from the full softmax",
    "attention_log_ratio": "attention as log-ratios",
    "probe_scores": "scores of the probes as they come",
    "image_difference": "mean liked less mean disliked image tokens",
    "last_hidden": "last hidden state of the references",
    "strangers": "shipped, choices made by strangers: the control",
    "posterior": "mean taste given the references: the ceiling",
    "true_taste": "true tastes: the ceiling",
}


@dataclass(frozen=True)
class Rival:
    """How well one kind of vector finds people.

    Attributes:
        taste: mean cosine of true taste to the nearest neighbours, 0 for random users and 1 for
            the true nearest; where a world's truth is known.
        of_ceiling: share of what the posterior given the same references has of that.
        mrr: mean reciprocal rank of a user's second half among everybody's.
    """

    taste: Figure | None = None
    of_ceiling: Figure | None = None
    mrr: Figure | None = None


@dataclass(frozen=True)
class Agreement:
    """Adjusted Rand index of k-means clusters with a world's communities.

    Attributes:
        num_clusters: as many as there are communities.
        shipped, shipped_whole: of signatures of one half, and of what the service reads.
        true_taste: of true tastes: the ceiling.
    """

    num_clusters: int
    shipped: float
    shipped_whole: float
    true_taste: float


@dataclass(frozen=True)
class Signatures:
    """What was read, which rivals find people, and how settled shipped signatures are.

    Attributes:
        num_users: judged.
        num_references: of each half, at most.
        num_whole: read by the service, at most.
        served: what the shipped signature is read from.
        num_probes, num_orders, dimension: of the shipped signature.
        chance_mrr: mean reciprocal rank of a guess.
        stability: mean cosine to the same references in other orders.
        drift: mean cosine of the oldest 2, 4... references to all, as text.
        rivals: by name.
        shipped_minus: shipped less the difference of image tokens, paired by user.
        minus_scores: other readouts less scores, likewise.
        communities: where a world's truth is known.
    """

    num_users: int
    num_references: int
    num_whole: int
    served: Readout
    num_probes: int
    num_orders: int
    dimension: int
    chance_mrr: float
    stability: Figure
    drift: Mapping[str, Figure]
    rivals: Mapping[str, Rival]
    shipped_minus: Rival
    minus_scores: Mapping[Readout, Rival] = field(default_factory=dict)
    communities: Agreement | None = None


@dataclass(frozen=True)
class NotMeasured:
    """Why there are no signatures to be judged."""

    why: str


def measure(judge: Judge) -> Signatures | NotMeasured:
    """Signatures of the unseen users, or why there are none."""
    return judge_signatures(
        judge.scorer,
        judge.folder,
        judge.asked.table,
        judge.features,
        list(judge.asked.unseen),
        num_references=judge.num_references,
        truth=judge.truth,
        seed=judge.seed,
        progress=judge.progress,
    )


def judge_signatures(
    scorer: PreferenceScorer,
    folder: Path,
    table: PairTable,
    features: Features,
    users: Sequence[str],
    *,
    num_references: int = NUM_REFERENCES,
    truth: WorldTruth | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> Signatures | NotMeasured:
    """Judge a checkpoint's signatures.

    Args:
        scorer: loaded from the checkpoint.
        folder: the checkpoint.
        table: all pairs.
        features: image tokens of their rows.
        users: who is judged: users never learned from.
        num_references: of each half of a history, at most.
        truth: of a synthetic world; used where it knows all users.
        seed: decides how histories are shuffled, and bootstrap draws.
        progress: called with what is being measured.

    Raises:
        CheckpointRefused: if the signature part is damaged.
    """
    if not has_signature(folder):
        return NotMeasured("the checkpoint has no signature part: `recsys train` adds one")
    num_references = min(num_references, scorer.config.num_references)
    cuts = cut_histories(table, users, num_references=num_references, seed=seed)
    if len(cuts) < FEWEST_USERS:
        return NotMeasured(
            f"at least {FEWEST_USERS} users never learned from must have four choices that"
            f" pass something over, got {len(cuts)}"
        )
    readers = load_signature_readers(folder, scorer)
    judge = SignatureJudge(scorer, readers, features, cuts, progress)
    vectors = judge.table()
    is_known = truth is not None and of_this_world(_samples(cuts), table, truth)
    if truth is None or not is_known:
        return _other_halves(judge, vectors, seed=seed)
    progress("signatures: the best possible")
    vectors[CEILING] = posterior_tastes(cuts, table, truth, seed=seed)
    strangers = labelled_by_strangers(cuts, table, truth, seed=seed)
    vectors[STRANGERS] = judge.signatures(strangers, "chosen by strangers"), vectors[SHIPPED][1]
    one = {name: first for name, (first, _) in vectors.items()} | {WHOLE: judge.whole()}
    return _with_tastes(_other_halves(judge, vectors, seed=seed), one, cuts, truth, seed=seed)


def section(result: Signatures | NotMeasured) -> Section:
    """The rivals as a plot and a grid, and how settled the shipped ones are."""
    if isinstance(result, NotMeasured):
        return Section("Signatures", [f"Not measured: {result.why}."])
    rows = known((_name(result, key), row.taste) for key, row in result.rivals.items())
    caption = (
        "Mean cosine of true taste to the 10 nearest neighbours. "
        "Dots are means, bars 95 % intervals, the dotted line is random users, and 1 would be the"
        " true nearest."
    )
    plots = [Plot(lambda: signature_plot(rows), caption)] if rows else []
    agreements = [_agreement(result.communities)] if result.communities else []
    return Section(
        "Signatures", [_protocol(result), *plots, _rivals(result), _settled(result), *agreements]
    )


def _key(readout: Readout, served: Readout) -> str:
    """Under which name a readout is among the rivals."""
    return SHIPPED if readout == served else readout


def _name(result: Signatures, rival: str) -> str:
    return f"shipped: {NAMES[result.served]}" if rival == SHIPPED else NAMES[rival]


def _protocol(result: Signatures) -> str:
    return (
        f"{result.num_users} users never learned from. Each history gives two random halves of at"
        f" most {result.num_references} references, and every row but two reads the same first"
        " half; the control reads its images as a stranger would have chosen among them, and the"
        f" whole history is what the service reads of it, at most {result.num_whole} references."
        " Readings are of"
        f" {result.num_probes} probes, averaged over {result.num_orders} orders; what is not"
        " projected is centred on the mean of these users. Intervals are by bootstrap over users;"
        " neighbours stay the same."
    )


def _rivals(result: Signatures) -> Grid:
    rows: list[tuple[Cell, ...]] = [
        (_name(result, key), _thousandths(row.taste), _share(row.of_ceiling), _thousandths(row.mrr))
        for key, row in result.rivals.items()
    ]
    paired = {"shipped less image difference": result.shipped_minus}
    paired |= {f"{readout} less scores": less for readout, less in result.minus_scores.items()}
    rows += [
        (f"{name}, paired by user", _thousandths(less.taste), NOTHING, _thousandths(less.mrr))
        for name, less in paired.items()
    ]
    caption = (
        "Taste: mean cosine of true taste to the 10 nearest neighbours, 0 for random users and 1"
        " for the true nearest. Other half: mean reciprocal rank of a user's second half among"
        f" everybody's, {number(result.chance_mrr, 3)} by chance."
    )
    return Grid(("signature", "taste", "of the ceiling", "other half"), rows, caption)


def _settled(result: Signatures) -> Grid:
    rows = [
        (name, _thousandths(figure), figure.n_users)
        for name, figure in [
            ("same references in other orders", result.stability),
            *((f"{count} references", figure) for count, figure in result.drift.items()),
        ]
    ]
    caption = (
        "How settled shipped signatures are: mean cosine to the same references in other orders,"
        " and of the oldest references to all that the service reads (users who have more)."
    )
    return Grid(("signature", "cosine", "users"), rows, caption)


def _agreement(communities: Agreement) -> str:
    return (
        "k-means clusters, as many as the world has communities"
        f" ({communities.num_clusters}), agree with them by an adjusted Rand index of"
        f" {number(communities.shipped)} (shipped), {number(communities.shipped_whole)}"
        f" (shipped, of what the service reads) and {number(communities.true_taste)} (true tastes:"
        " the ceiling)."
    )


def _thousandths(figure: Figure | None) -> str:
    return with_interval(figure, lambda value: number(value, 3))


def _share(figure: Figure | None) -> str:
    return NOTHING if figure is None else percent(figure.value)


def _other_halves(judge: SignatureJudge, vectors: Mapping[str, Both], *, seed: int) -> Signatures:
    """What was read, how settled signatures are, and each rival's ranks of the other half."""
    cuts, reader = judge.cuts.values(), judge.shipped
    scores = _key("scores", reader.readout)
    n_pairs = _num_pairs(judge.cuts)
    ranks = {name: reciprocal_ranks(*both) for name, both in vectors.items()}

    def mrr(values: np.ndarray) -> Rival:
        return Rival(mrr=over_users(values.tolist(), n_pairs=n_pairs, seed=seed))

    return Signatures(
        num_users=len(cuts),
        num_references=max(len(cut.first) for cut in cuts),
        num_whole=max(len(cut.whole) for cut in cuts),
        served=reader.readout,
        num_probes=len(reader.probes.prompts),
        num_orders=reader.num_orders,
        dimension=reader.dimension,
        chance_mrr=chance_of_ranks(len(cuts)),
        stability=judge.stability(),
        drift=judge.drift(),
        rivals={name: mrr(own) for name, own in ranks.items()},
        shipped_minus=mrr(ranks[SHIPPED] - ranks[BASELINE]),
        minus_scores={
            readout: mrr(ranks[_key(readout, reader.readout)] - ranks[scores])
            for readout in judge.readers.by_readout
            if readout != "scores"
        },
    )


def _with_tastes(
    result: Signatures,
    vectors: Mapping[str, RivalVectors],
    cuts: Mapping[str, Cut],
    truth: WorldTruth,
    *,
    seed: int,
) -> Signatures:
    """How near in taste each rival's neighbours are, and how clusters agree with communities.

    Args:
        result: the rest.
        vectors: of the first halves, and of what the service reads.
        cuts: of the same users.
        truth: of their world.
        seed: of the bootstrap.
    """
    tastes = np.stack([truth.taste(user) for user in cuts])
    scale, n_pairs = taste_scale(tastes), _num_pairs(cuts)
    span = scale.best - scale.random
    served, scores = result.served, _key("scores", result.served)
    gains = {name: scale.shared(rows) - scale.random for name, rows in vectors.items()}

    def ratio(above: np.ndarray, below: np.ndarray) -> Figure:
        return ratio_of_means(above, below, n_pairs=n_pairs, seed=seed)

    rivals = {
        name: replace(
            result.rivals.get(name, Rival()),
            taste=ratio(gain, span),
            # The ceiling is of one half.
            of_ceiling=None if name == WHOLE else ratio(gain, gains[CEILING]),
        )
        for name, gain in gains.items()
    }
    communities = np.array([truth.community(user) for user in cuts])
    num_clusters = min(len(truth.communities.centers), len(cuts))
    agreements = {
        name: agreement(rows, communities, num_clusters=num_clusters)
        for name, rows in ((SHIPPED, vectors[SHIPPED]), (WHOLE, vectors[WHOLE]), (TRUE, tastes))
    }
    return replace(
        result,
        rivals=rivals,
        shipped_minus=replace(
            result.shipped_minus, taste=ratio(gains[SHIPPED] - gains[BASELINE], span)
        ),
        minus_scores={
            readout: replace(less, taste=ratio(gains[_key(readout, served)] - gains[scores], span))
            for readout, less in result.minus_scores.items()
        },
        communities=Agreement(num_clusters, **agreements),
    )


def _num_pairs(cuts: Mapping[str, Cut]) -> int:
    return sum(len(cut.first) for cut in cuts.values())


def _samples(cuts: Mapping[str, Cut]) -> dict[str, Sample]:
    return {user: Sample(cut.first, cut.second) for user, cut in cuts.items()}


TABLE: ReportTable[Signatures | NotMeasured] = ReportTable(
    "signatures", measure, section, lambda result: {"signatures": result}
)
