"""Whose choices a checkpoint has learned from, and up to when: what evaluation must leave out.

The record is `trained_on.json` beside the weights. It holds digests of user ids, for a checkpoint
may be given to people who must not see the ids.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recsys.history import Pair
from training.data.samples import PairTable

FILE = "trained_on.json"
_DIGEST_CHARACTERS = 16
_SETS = ("prompts", "validation")


@dataclass(frozen=True)
class TrainedOn:
    """What a training run learned from.

    Attributes:
        newest: by digest of the user id, the newest choice learned from, POSIX seconds.
        data_digest: SHA-256 over all that was learned from.
        prompts: digests of the prompts learned from; a user's older choices of other prompts were
            held out.
        validation: digests of the users that the best weights were chosen by; evaluation must
            leave them out.
        parts: digest of each part of the split, by name.
    """

    newest: Mapping[str, float]
    data_digest: str
    prompts: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    parts: Mapping[str, str] = field(default_factory=dict)

    def until(self, user_id: str) -> float | None:
        """Newest choice of a user that was learned from; None for an unseen user."""
        return self.newest.get(user_digest(user_id))

    def chose_by(self, user_id: str) -> bool:
        """Whether a user was in the validation part."""
        return user_digest(user_id) in self.validation

    def used(self, user_id: str, pair: Pair) -> bool:
        """Whether a pair was learned from, or may have been validated on."""
        return self.chose_by(user_id) or self.learned(user_id, pair)

    def learned(self, user_id: str, pair: Pair) -> bool:
        """Whether a pair was learned from."""
        newest = self.until(user_id)
        if newest is None or pair.chosen_at > newest:
            return False
        return not self.prompts or short_digest(pair.prompt) in self.prompts


def trained_on(
    learned: PairTable, *, validation: Collection[str] = (), parts: Mapping[str, str]
) -> TrainedOn:
    """The record of what a run learns from.

    Args:
        learned: the training part alone.
        validation: users that the best weights are chosen by.
        parts: digest of each part of the split.
    """
    prompts = {pair.prompt for pairs in learned.pairs.values() for pair in pairs}
    newest = {
        user_digest(user): max(pair.chosen_at for pair in pairs)
        for user, pairs in learned.pairs.items()
        if pairs
    }
    return TrainedOn(
        newest,
        histories_digest(learned),
        prompts=frozenset(map(short_digest, prompts)),
        validation=frozenset(map(user_digest, validation)),
        parts=dict(parts),
    )


def histories_digest(table: PairTable) -> str:
    """SHA-256 over users, images, prompts and times, whatever the order of the image table."""
    digest = hashlib.sha256()
    for user in sorted(table.pairs):
        rows = [
            (table.images[p.liked], table.images[p.disliked], p.prompt, p.chosen_at)
            for p in table.pairs[user]
        ]
        digest.update(json.dumps([user, rows]).encode())
    return digest.hexdigest()


def user_digest(user_id: str) -> str:
    """A user's digest in the record."""
    return short_digest(user_id)


def short_digest(text: str) -> str:
    """The first half of a SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def write_trained_on(record: TrainedOn, folder: Path) -> None:
    """Put the record into a checkpoint's folder."""
    values = asdict(record) | {name: sorted(getattr(record, name)) for name in _SETS}
    (folder / FILE).write_text(json.dumps(values, indent=1) + "\n")


def read_trained_on(folder: Path) -> TrainedOn | None:
    """The record of a checkpoint; None where there is none.

    Raises:
        ValueError: if it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        return TrainedOn(**(values | {name: frozenset(values[name]) for name in _SETS}))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: copy the checkpoint again") from error
