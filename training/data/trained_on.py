"""What a training run learns from, as the record in its checkpoints tells it."""

import hashlib
import json
from collections.abc import Collection, Mapping

from recsys.scorer.trained_on import TrainedOn, prompt_digest, user_digest
from storage.identity_keys import IdentityKey
from training.data.samples import PairTable


def trained_on(
    learned: PairTable,
    *,
    validation: Collection[str] = (),
    parts: Mapping[str, str],
    key: IdentityKey | None,
) -> TrainedOn:
    """The record of what a run learns from.

    Args:
        learned: the training part alone.
        validation: users that the best weights are chosen by.
        parts: digest of each part of the split.
        key: of the digests of users and prompts; None where these name nobody.
    """
    prompts = {pair.prompt for pairs in learned.pairs.values() for pair in pairs}
    newest = {
        user_digest(key, user): max(pair.chosen_at for pair in pairs)
        for user, pairs in learned.pairs.items()
        if pairs
    }
    return TrainedOn(
        newest,
        prompts=frozenset(prompt_digest(key, prompt) for prompt in prompts),
        validation=frozenset(user_digest(key, user) for user in validation),
        parts=dict(parts),
        key_id=None if key is None else key.key_id,
        key=key,
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
