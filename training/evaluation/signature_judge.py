"""Signatures of judged users by the served reader, and what else could be one, of the same halves.

Each judged user's history gives two random halves that share no choice, which every rival reads,
and what the service reads of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Readout
from recsys.signatures.files import SignatureReaders, has_signature, load_signature_readers
from recsys.signatures.reader import SignatureReader
from training.data.features import Features
from training.data.samples import PairTable, Sample
from training.evaluation.history_cuts import Cut, Pairs, cut_histories, reordered
from training.evaluation.metrics import Figure, over_users
from training.evaluation.questions import NUM_REFERENCES
from training.evaluation.retrieval import NUM_NEAREST, cosines
from training.evaluation.signature_figures import NotMeasured
from training.evaluation.signature_rivals import SHIPPED, RivalVectors, raw_rivals, show

FEWEST_USERS = 2 * NUM_NEAREST
MOST_FOLLOWED = 100
"""Users whose signatures are read again in other orders and from fewer choices, at most."""

NUM_REORDERED = 2
PROGRESS_EVERY = 8
DRIFT_COUNTS = (2, 4, 8, 16, 24)

Both = tuple[RivalVectors, RivalVectors]


@dataclass
class SignatureJudge:
    """One judgement of a checkpoint's signatures.

    Attributes:
        scorer: frozen.
        readers: the checkpoint's.
        features: image tokens of the histories' rows.
        cuts: of each judged user.
        progress: called with what is being measured.
    """

    scorer: PreferenceScorer
    readers: SignatureReaders
    features: Features
    cuts: Mapping[str, Cut]
    progress: Callable[[str], None] = lambda what: None
    _read: dict[Pairs, dict[Readout, np.ndarray]] = field(default_factory=dict)

    @property
    def shipped(self) -> SignatureReader:
        """The reader that is served."""
        return self.readers.by_readout[self.readers.served]

    def table(self) -> dict[str, Both]:
        """Vectors of both halves by rival."""
        halves = {
            name: [getattr(cut, name) for cut in self.cuts.values()] for name in ("first", "second")
        }
        signatures = {
            SHIPPED if readout == self.readers.served else readout: tuple(
                self.signatures(users, f"{name} halves", readout) for name, users in halves.items()
            )
            for readout in self.readers.by_readout
        }
        first, second = (
            show(
                self.scorer,
                users,
                self.features,
                self.shipped.probes,
                num_orders=self.shipped.num_orders,
                progress=self._counting(f"rivals of {name} halves", len(users)),
            )
            for name, users in halves.items()
        )
        return cast("dict[str, Both]", signatures) | raw_rivals(first, second)

    def samples(self) -> dict[str, Sample]:
        """What is read of both halves."""
        return {user: Sample(cut.first, cut.second) for user, cut in self.cuts.items()}

    def whole(self) -> RivalVectors:
        """Shipped signatures of what the service reads."""
        return self.signatures([cut.whole for cut in self.cuts.values()], "whole histories")

    def stability(self) -> Figure:
        """Mean cosine of a half's signature to those of the same references in other orders."""
        followed = self._followed()
        own = self.signatures([cut.first for cut in followed], "re-orderings")
        values = np.zeros(len(followed))
        for turn in range(NUM_REORDERED):
            turned = [reordered(cut.first, turn) for cut in followed]
            values += cosines(own, self.signatures(turned, "re-orderings")) / NUM_REORDERED
        return over_users(values.tolist(), n_pairs=sum(len(cut.first) for cut in followed))

    def drift(self) -> dict[str, Figure]:
        """Mean cosine of the signature of the oldest 2, 4... references to that of all.

        Only users who have more references than that are in a figure.
        """
        figures = {}
        for count in DRIFT_COUNTS:
            longer = [cut.whole for cut in self._followed() if len(cut.whole) > count]
            if longer:
                fewer = self.signatures([each[:count] for each in longer], f"{count} references")
                values = cosines(fewer, self.signatures(longer, "all references"))
                figures[str(count)] = over_users(values.tolist(), n_pairs=count * len(longer))
        return figures

    def _followed(self) -> list[Cut]:
        return list(self.cuts.values())[:MOST_FOLLOWED]

    def signatures(
        self, users: Sequence[Pairs], what: str, readout: Readout | None = None
    ) -> RivalVectors:
        """Signatures of sets of references, each read once for all readouts.

        Args:
            users: the references.
            what: they are, for `progress`.
            readout: None: what is served.
        """
        readout = readout or self.readers.served
        progress = self._counting(f"signatures: {what}", len(users))
        for done, pairs in enumerate(users, start=1):
            if pairs not in self._read:
                rows = [row for pair in pairs for row in (pair.liked, pair.disliked)]
                self._read[pairs] = self.readers.read_tokens(
                    [pair.prompt for pair in pairs], self.features(rows)
                )
            if done % PROGRESS_EVERY == 0 or done == len(users):
                progress(done)
        return np.stack([self._read[pairs][readout] for pairs in users]).astype(np.float64)

    def _counting(self, what: str, count: int) -> Callable[[int], None]:
        return lambda done: self.progress(f"{what}, {done} of {count}")


def open_signature_judge(
    scorer: PreferenceScorer,
    folder: Path,
    table: PairTable,
    features: Features,
    users: Sequence[str],
    *,
    num_references: int = NUM_REFERENCES,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> SignatureJudge | NotMeasured:
    """Open a checkpoint's signatures to be judged.

    Args:
        scorer: loaded from the checkpoint.
        folder: the checkpoint.
        table: all pairs.
        features: image tokens of their rows.
        users: who is judged: users never learned from.
        num_references: of each half of a history, at most.
        seed: decides how histories are shuffled.
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
    return SignatureJudge(scorer, readers, features, cuts, progress)
