"""What is measured of a checkpoint's signatures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.signatures.definition import Readout
from training.evaluation.metrics import Figure


@dataclass(frozen=True)
class NotMeasured:
    """Why something of signatures was not measured."""

    why: str


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
class Joined:
    """A latent taste beside the shipped signature, where neighbours are searched.

    Attributes:
        weight: the length of a taste's vector beside a signature of length 1.
        num_lenders, num_classes: people whom the classes of taste were learned from, and how many
            these are.
        num_choosers: other people, who decided the weight.
        dimension: numbers of a person's taste.
        minus_shipped: both joined, less the shipped signature, paired by user.
    """

    weight: float
    num_lenders: int
    num_classes: int
    num_choosers: int
    dimension: int
    minus_shipped: Rival


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
        joined: what a latent taste adds, or why that was not measured.
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
    joined: Joined | NotMeasured | None = None
    communities: Agreement | None = None
