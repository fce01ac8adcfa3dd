"""The signature table: which vectors find people of like taste, and how settled ours are.

Signatures are read by the served reader. Each judged user's history gives two random halves that
share no choice, which every rival reads, and what the service reads of it. Taste needs a world
whose truth is known; finding the other half needs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from recsys.errors import CheckpointRefused
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import READOUTS, Readout
from recsys.signatures.files import has_signature, load_signature_reader
from recsys.signatures.reader import SignatureReader
from training.data.features import Features
from training.data.samples import PairTable, Sample
from training.evaluation.bounds import of_this_world
from training.evaluation.history_cuts import Cut, Pairs, cut_histories, reordered
from training.evaluation.metrics import Figure, over_users
from training.evaluation.retrieval import (
    NUM_NEAREST,
    chance_of_ranks,
    cosines,
    ratio_of_means,
    reciprocal_ranks,
    taste_scale,
)
from training.evaluation.signature_rivals import SHIPPED, Vectors, raw_rivals, show
from training.evaluation.signature_world import CEILING, agreement, posterior_tastes
from training.world.truth import WorldTruth

FEWEST_USERS = 2 * NUM_NEAREST
MOST_FOLLOWED = 100
"""Users whose signatures are read again in other orders and from fewer choices, at most."""

NUM_REORDERED = 2
TELL_EVERY = 8
DRIFT_COUNTS = (2, 4, 8, 16, 24)
BASELINE = "image_difference"
WHOLE = "shipped_whole"

Block = dict[str, Any]
Both = tuple[Vectors, Vectors]


@dataclass
class SignatureJudge:
    """One judgement of a checkpoint's signatures.

    Attributes:
        scorer: frozen.
        readers: the checkpoint's, by readout; what it ships is among them.
        features: image tokens of the histories' rows.
        cuts: of each judged user, at least `FEWEST_USERS`.
        tell: called with what is being measured.
    """

    scorer: PreferenceScorer
    readers: Mapping[Readout, SignatureReader]
    features: Features
    cuts: Mapping[str, Cut]
    tell: Callable[[str], None] = lambda what: None
    _read: dict[tuple[Readout, Pairs], np.ndarray] = field(default_factory=dict)

    @property
    def shipped(self) -> SignatureReader:
        """The reader that is served."""
        return self.readers[READOUTS[0]]

    def table(self) -> dict[str, Both]:
        """Vectors of both halves by rival."""
        halves = {
            name: [getattr(cut, name) for cut in self.cuts.values()] for name in ("first", "second")
        }
        signatures = {
            SHIPPED if readout == READOUTS[0] else readout: tuple(
                self._signatures(users, f"{name} halves", readout) for name, users in halves.items()
            )
            for readout in self.readers
        }
        first, second = (
            show(
                self.scorer,
                users,
                self.features,
                self.shipped.probes,
                num_orders=self.shipped.num_orders,
                tell=self._counting(f"rivals of {name} halves", len(users)),
            )
            for name, users in halves.items()
        )
        return cast("dict[str, Both]", signatures) | raw_rivals(first, second)

    def whole(self) -> Vectors:
        """Shipped signatures of what the service reads."""
        return self._signatures([cut.whole for cut in self.cuts.values()], "whole histories")

    def stability(self) -> Figure:
        """Mean cosine of a half's signature to those of the same references in other orders."""
        followed = self._followed()
        own = self._signatures([cut.first for cut in followed], "re-orderings")
        values = np.zeros(len(followed))
        for turn in range(NUM_REORDERED):
            turned = [reordered(cut.first, turn) for cut in followed]
            values += cosines(own, self._signatures(turned, "re-orderings")) / NUM_REORDERED
        return over_users(values.tolist(), n_pairs=sum(len(cut.first) for cut in followed))

    def drift(self) -> dict[str, Figure]:
        """Mean cosine of the signature of the oldest 2, 4... references to that of all.

        Only users who have more references than that are in a figure.
        """
        found = {}
        for count in DRIFT_COUNTS:
            longer = [cut.whole for cut in self._followed() if len(cut.whole) > count]
            if longer:
                fewer = self._signatures([each[:count] for each in longer], f"{count} references")
                values = cosines(fewer, self._signatures(longer, "all references"))
                found[str(count)] = over_users(values.tolist(), n_pairs=count * len(longer))
        return found

    def _followed(self) -> list[Cut]:
        return list(self.cuts.values())[:MOST_FOLLOWED]

    def _signatures(
        self, users: Sequence[Pairs], what: str, readout: Readout = READOUTS[0]
    ) -> Vectors:
        """As served, each set of references read once."""
        tell = self._counting(f"signatures: {what}", len(users))
        for done, pairs in enumerate(users, start=1):
            if (readout, pairs) not in self._read:
                rows = [row for pair in pairs for row in (pair.liked, pair.disliked)]
                self._read[readout, pairs] = self.readers[readout].read_tokens(
                    [pair.prompt for pair in pairs], self.features(rows)
                )
            if done % TELL_EVERY == 0 or done == len(users):
                tell(done)
        return np.stack([self._read[readout, pairs] for pairs in users]).astype(np.float64)

    def _counting(self, what: str, count: int) -> Callable[[int], None]:
        return lambda done: self.tell(f"{what}, {done} of {count}")


def judge_signatures(
    scorer: PreferenceScorer,
    folder: Path,
    histories: PairTable,
    features: Features,
    users: Sequence[str],
    *,
    truth: WorldTruth | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
) -> Block:
    """The report's block on signatures.

    Args:
        scorer: loaded from the checkpoint.
        folder: the checkpoint.
        histories: all pairs.
        features: image tokens of their rows.
        users: who is judged: users never learned from.
        truth: of a synthetic world; used where it knows all users.
        seed: decides how histories are shuffled, and bootstrap draws.
        tell: called with what is being measured.

    Returns:
        Figures, or only "why" there are none.

    Raises:
        CheckpointRefused: if the signature part is damaged.
    """
    if not has_signature(folder):
        return {"why": "the checkpoint has no signature part: `recsys train` adds one"}
    cuts = cut_histories(histories, users, num_references=scorer.config.num_references, seed=seed)
    if len(cuts) < FEWEST_USERS:
        return {
            "why": f"at least {FEWEST_USERS} users never learned from must have four choices that"
            f" pass something over, got {len(cuts)}"
        }
    judge = _opened(scorer, folder, features, cuts, tell)
    vectors, n_pairs = judge.table(), sum(len(cut.first) for cut in cuts.values())
    found = _settled(judge)
    if truth is None or not of_this_world(_samples(cuts), histories, truth):
        return found | _other_halves(vectors, n_pairs=n_pairs, seed=seed)
    tell("signatures: the best possible")
    vectors[CEILING] = posterior_tastes(cuts, histories, truth, seed=seed)
    found |= _other_halves(vectors, n_pairs=n_pairs, seed=seed)
    one = {name: first for name, (first, _) in vectors.items()} | {WHOLE: judge.whole()}
    tastes = np.stack([truth.taste(user) for user in cuts])
    _add_tastes(found, one, tastes, n_pairs=n_pairs, seed=seed)
    found["communities"] = agreement(
        {name: one[name] for name in (SHIPPED, WHOLE)} | {"true_taste": tastes},
        np.array([truth.community(user) for user in cuts]),
        num_clusters=len(truth.population.communities),
    )
    return found


def _opened(
    scorer: PreferenceScorer,
    folder: Path,
    features: Features,
    cuts: Mapping[str, Cut],
    tell: Callable[[str], None],
) -> SignatureJudge:
    """A judge with what is shipped, and the attention signature where the checkpoint has one."""
    readers = {READOUTS[0]: load_signature_reader(folder, scorer)}
    with suppress(CheckpointRefused):  # its table has one row less
        readers["attention"] = load_signature_reader(folder, scorer, readout="attention")
    return SignatureJudge(scorer, readers, features, cuts, tell)


def _settled(judge: SignatureJudge) -> Block:
    """What was read, and how settled signatures are."""
    cuts, reader = judge.cuts.values(), judge.shipped
    return {
        "num_users": len(cuts),
        "num_references": max(len(cut.first) for cut in cuts),
        "num_whole": max(len(cut.whole) for cut in cuts),
        "num_probes": len(reader.probes.prompts),
        "num_orders": reader.num_orders,
        "dimension": reader.dimension,
        "chance_mrr": chance_of_ranks(len(cuts)),
        "stability": judge.stability(),
        "drift": judge.drift(),
    }


def _other_halves(vectors: Mapping[str, Both], *, n_pairs: int, seed: int) -> Block:
    """Mean reciprocal rank of the other half by rival, and ours less the images'."""
    ranks = {name: reciprocal_ranks(*both).tolist() for name, both in vectors.items()}
    less = np.subtract(ranks[SHIPPED], ranks[BASELINE]).tolist()
    return {
        "rivals": {
            name: {"mrr": over_users(own, n_pairs=n_pairs, seed=seed)}
            for name, own in ranks.items()
        },
        "shipped_minus": {"mrr": over_users(less, n_pairs=n_pairs, seed=seed)},
    }


def _add_tastes(
    found: Block, vectors: Mapping[str, Vectors], tastes: Vectors, *, n_pairs: int, seed: int
) -> None:
    """Of each rival, how near in taste its nearest users are, and the share of the ceiling."""
    scale = taste_scale(tastes)
    gains = {name: scale.found(rows) - scale.random for name, rows in vectors.items()}
    span = scale.best - scale.random
    for name, gain in gains.items():
        row = found["rivals"].setdefault(name, {})
        row["taste"] = ratio_of_means(gain, span, n_pairs=n_pairs, seed=seed)
        if name != WHOLE:  # the ceiling is of one half
            row["of_ceiling"] = ratio_of_means(gain, gains[CEILING], n_pairs=n_pairs, seed=seed)
    less = gains[SHIPPED] - gains[BASELINE]
    found["shipped_minus"]["taste"] = ratio_of_means(less, span, n_pairs=n_pairs, seed=seed)


def _samples(cuts: Mapping[str, Cut]) -> dict[str, Sample]:
    return {user: Sample(cut.first, cut.second) for user, cut in cuts.items()}
