"""Which vectors find neighbours of like taste, and how settled the shipped signatures are.

Taste needs a world whose truth is known; finding the other half of a history needs nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from recsys.coldstart.learning import may_judge
from recsys.counts import counted
from recsys.signatures.definition import Readout
from training.data.samples import PairTable
from training.evaluation.bounds import of_this_world
from training.evaluation.history_cuts import Cut
from training.evaluation.judge import Judge
from training.evaluation.latent_taste import LatentTaste, learn_latent_taste
from training.evaluation.lending import lenders
from training.evaluation.metrics import Figure, over_users
from training.evaluation.plots import signature_plot
from training.evaluation.retrieval import (
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
from training.evaluation.signature_figures import (
    Agreement,
    Joined,
    NotMeasured,
    Rival,
    Signatures,
)
from training.evaluation.signature_judge import Both, SignatureJudge, open_signature_judge
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

BASELINE = "image_difference"
WHOLE = "shipped_whole"
TRUE = "true_taste"
TASTE = "latent_taste"
JOINED = "joined"

NAMES = {
    "shipped_whole": "shipped, of what the service reads",
    "scores": "the probes' scores, projected",
    "attention": "attention where scores are read, projected",
    "both": "scores and attention together, projected",
    "attention_eq6": "attention as in Eq. 6",
    "attention_full": "attention sliced from the full softmax",
    "attention_log_ratio": "attention as log-ratios",
    "probe_scores": "scores of the probes as they come",
    "latent_taste": "latent taste of the classes",
    "joined": "shipped and latent taste, joined in the search",
    "image_difference": "mean liked less mean disliked image tokens",
    "last_hidden": "last hidden state of the references",
    "strangers": "shipped, choices made by strangers: the control",
    "posterior": "mean taste given the references: the ceiling",
    "true_taste": "true tastes: the ceiling",
}


def measure(judge: Judge) -> Signatures | NotMeasured:
    """Signatures of the unseen users, or why there are none."""
    table, seed = judge.asked.table, judge.seed
    opened = open_signature_judge(
        judge.scorer,
        judge.folder,
        table,
        judge.features,
        list(judge.asked.unseen),
        num_references=judge.num_references,
        seed=seed,
        progress=judge.progress,
    )
    if isinstance(opened, NotMeasured):
        return opened
    others = lenders(table, judge.asked.unseen, seed=seed)
    may_choose = may_judge(judge.learned, others)
    latent = learn_latent_taste(opened, table, others, may_choose=may_choose, seed=seed)
    return judge_signatures(opened, table, latent, truth=judge.truth, seed=seed)


def judge_signatures(
    judge: SignatureJudge,
    table: PairTable,
    latent: LatentTaste | NotMeasured,
    *,
    truth: WorldTruth | None = None,
    seed: int = 0,
) -> Signatures:
    """Judge a checkpoint's signatures.

    Args:
        judge: of the checkpoint and the judged users.
        table: what the rows of their histories stand for.
        latent: what is joined to signatures at search time, if anything.
        truth: of a synthetic world; used where it knows all users.
        seed: decides the strangers, the posterior's samples and bootstrap draws.
    """
    vectors, cuts = judge.table(), judge.cuts
    if isinstance(latent, LatentTaste):
        vectors[TASTE], vectors[JOINED] = latent.vectors(judge, vectors[SHIPPED])
    if truth is None or not of_this_world(judge.samples(), table, truth):
        return _other_halves(judge, vectors, latent, seed=seed)
    judge.progress("signatures: the best possible")
    vectors[CEILING] = posterior_tastes(cuts, table, truth, seed=seed)
    strangers = labelled_by_strangers(cuts, table, truth, seed=seed)
    vectors[STRANGERS] = judge.signatures(strangers, "chosen by strangers"), vectors[SHIPPED][1]
    one = {name: first for name, (first, _) in vectors.items()} | {WHOLE: judge.whole()}
    result = _other_halves(judge, vectors, latent, seed=seed)
    return _with_tastes(result, one, cuts, truth, seed=seed)


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
    latent = [_latent_taste(result.joined, result.dimension)] if result.joined else []
    parts: list[str | Grid | Plot] = [_protocol(result), *plots, _rivals(result)]
    return Section("Signatures", [*parts, *latent, _settled(result), *agreements])


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
        f" {result.num_probes} probes, averaged over {result.num_orders} orders; what is neither"
        " projected nor a latent taste is centred on the mean of these users. Intervals are by"
        " bootstrap over users; neighbours stay the same."
    )


def _rivals(result: Signatures) -> Grid:
    rows: list[tuple[Cell, ...]] = [
        (_name(result, key), _thousandths(row.taste), _share(row.of_ceiling), _thousandths(row.mrr))
        for key, row in result.rivals.items()
    ]
    paired = {"shipped less image difference": result.shipped_minus}
    paired |= {f"{readout} less scores": less for readout, less in result.minus_scores.items()}
    if isinstance(result.joined, Joined):
        paired["joined with latent taste less shipped"] = result.joined.minus_shipped
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


def _latent_taste(joined: Joined | NotMeasured, dimension: int) -> str:
    if isinstance(joined, NotMeasured):
        return f"A latent taste beside the signature was not measured: {joined.why}."
    return (
        f"A latent taste is the mean taste of the {joined.num_classes} classes of cold start that a"
        f" user may belong to, learned from {counted(joined.num_lenders, 'person', 'people')}. In a"
        f" search it stands beside the signature with a weight of {joined.weight:g}, by which"
        f" {counted(joined.num_choosers, 'other person', 'other people')} found the other half of"
        " their histories best; none of all these is judged. It costs"
        f" {joined.dimension} numbers a user beside the {dimension} of the signature, and has a"
        " meaning within one fit alone: whenever cold start is fitted anew, as it should be every"
        " week, all tastes are read again from the users' choices, and an index over both is built"
        " anew. So it is stored in no signature."
    )


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


def _other_halves(
    judge: SignatureJudge,
    vectors: Mapping[str, Both],
    latent: LatentTaste | NotMeasured,
    *,
    seed: int,
) -> Signatures:
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
        joined=latent
        if isinstance(latent, NotMeasured)
        else Joined(
            latent.weight,
            num_lenders=latent.num_lenders,
            num_classes=len(latent.cold_start.classes.shares),
            num_choosers=latent.num_choosers,
            dimension=latent.dimension,
            minus_shipped=mrr(ranks[JOINED] - ranks[SHIPPED]),
        ),
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
        joined=replace(
            result.joined,
            minus_shipped=replace(
                result.joined.minus_shipped, taste=ratio(gains[JOINED] - gains[SHIPPED], span)
            ),
        )
        if isinstance(result.joined, Joined)
        else result.joined,
        communities=Agreement(num_clusters, **agreements),
    )


def _num_pairs(cuts: Mapping[str, Cut]) -> int:
    return sum(len(cut.first) for cut in cuts.values())


TABLE: ReportTable[Signatures | NotMeasured] = ReportTable(
    "signatures", measure, section, lambda result: {"signatures": result}
)
