"""Whose choices a checkpoint has learned from, up to when: `trained_on.json` beside the weights.

Evaluation leaves these people out, and an erasure tells who of them is still in the weights. The
file holds digests of user ids and prompts, for a checkpoint may be given to people who must not
see them; they are made under the identity key (`storage.identity_keys`), for ids that are numbers
are soon tried. Files of version 0.1 and those of worlds whose people do not exist have plain
digests, which everybody can check.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.history import Pair
from storage.errors import IdentityKeyMissing
from storage.files import replace_file
from storage.identity_keys import NO_KEYS, IdentityKey, IdentityKeys

FILE = "trained_on.json"
FORMAT = 2
_DIGEST_CHARACTERS = 16
_USER, _PROMPT = "trained on: user", "trained on: prompt"


@dataclass(frozen=True)
class TrainedOn:
    """What a training run learned from.

    Attributes:
        newest: by digest of the user id, the newest choice learned from, POSIX seconds.
        prompts: digests of the prompts learned from; a user's older choices of other prompts were
            held out.
        validation: digests of the users that the best weights were chosen by; evaluation must
            leave them out.
        parts: SHA-256 of each part of the split, by name.
        key_id: of the key of all other digests; None for plain ones.
        key: the key, where it is at hand.
    """

    newest: Mapping[str, float]
    prompts: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    parts: Mapping[str, str] = field(default_factory=dict)
    key_id: str | None = None
    key: IdentityKey | None = None

    @property
    def can_tell(self) -> bool:
        """Whether the key is at hand, or none is needed; all else here needs it."""
        return self.key_id is None or self.key is not None

    def until(self, user_id: str) -> float | None:
        """Newest choice of a user that was learned from; None for an unseen user."""
        return self.newest.get(self._digest(_USER, user_id))

    def chose_by(self, user_id: str) -> bool:
        """Whether a user was in the validation part."""
        return self._digest(_USER, user_id) in self.validation

    def holds(self, user_id: str) -> bool:
        """Whether the weights owe anything to a user: learned from, or chosen by.

        Raises:
            IdentityKeyMissing: if the key is not at hand, as all methods.
        """
        return self.until(user_id) is not None or self.chose_by(user_id)

    def used(self, user_id: str, pair: Pair) -> bool:
        """Whether a pair was learned from, or may have been validated on."""
        return self.chose_by(user_id) or self.learned(user_id, pair)

    def learned(self, user_id: str, pair: Pair) -> bool:
        """Whether a pair was learned from."""
        newest = self.until(user_id)
        if newest is None or pair.chosen_at > newest:
            return False
        return not self.prompts or self._digest(_PROMPT, pair.prompt) in self.prompts

    def _digest(self, purpose: str, text: str) -> str:
        if not self.can_tell:
            raise IdentityKeyMissing(
                f"a checkpoint tells whom it learned from under the identity key {self.key_id},"
                " which is not among those given: name it in identity_key"
            )
        return _digest(self.key, purpose, text)


def user_digest(key: IdentityKey | None, user_id: str) -> str:
    """A user's digest in the record; a plain one without a key."""
    return _digest(key, _USER, user_id)


def prompt_digest(key: IdentityKey | None, prompt: str) -> str:
    """A prompt's digest in the record; a plain one without a key."""
    return _digest(key, _PROMPT, prompt)


def write_trained_on(record: TrainedOn, folder: Path) -> None:
    """Put the record into a folder; it replaces an old one once it is complete."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "key_id": record.key_id,
        "newest": dict(record.newest),
        "prompts": sorted(record.prompts),
        "validation": sorted(record.validation),
        "parts": dict(record.parts),
    }
    with replace_file(folder / FILE) as path:
        path.write_text(json.dumps(values, indent=1) + "\n")


def read_trained_on(folder: Path, keys: IdentityKeys = NO_KEYS) -> TrainedOn | None:
    """The record of a checkpoint; None where there is none.

    Args:
        folder: of the checkpoint.
        keys: those at hand; without the one of the record, it `can_tell` nothing of users.

    Raises:
        ValueError: if it is damaged, or of a later version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        if values.get("format", FORMAT) != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {values['format']}")
        key_id = values.get("key_id")  # the first format has neither
        return TrainedOn(
            dict(values["newest"]),
            frozenset(values["prompts"]),
            frozenset(values["validation"]),
            dict(values["parts"]),
            key_id,
            None if key_id is None else keys.with_id(key_id),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged, or of a later version: copy the checkpoint again, or update recsys"
            f" ({error!r})"
        ) from error


def _digest(key: IdentityKey | None, purpose: str, text: str) -> str:
    """The first 16 hexadecimal digits; of two users among a million they are never equal."""
    if key is None:
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return key.digest(purpose, text).hex()[:_DIGEST_CHARACTERS]
