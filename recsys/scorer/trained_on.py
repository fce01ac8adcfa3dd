"""Whose choices a checkpoint has learned from, up to when: `trained_on.json` beside the weights.

Evaluation leaves these people out, and an erasure tells who of them is still in the weights. The
file holds digests of user ids and prompts, for a checkpoint may be given to people who must not
see them; they are made under the identity key (`storage.identity_keys`), for ids that are numbers
are soon tried. Files of version 0.1 and those of worlds whose people do not exist have plain
digests, which everybody can check.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recsys.history import Pair
from storage.errors import IdentityKeyMissing
from storage.files import replace_file
from storage.identity_keys import NO_KEYS, IdentityKey, IdentityKeys

FILE = "trained_on.json"
FORMAT = 2
FORMAT_WITH_EARLIER = 3
"""Of a record that has earlier ones, which an older version would not see."""
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
        earlier: records of the checkpoints that this one was adapted from, under keys of their own.
    """

    newest: Mapping[str, float]
    prompts: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    parts: Mapping[str, str] = field(default_factory=dict)
    key_id: str | None = None
    key: IdentityKey | None = None
    earlier: "tuple[TrainedOn, ...]" = ()

    @property
    def layers(self) -> "tuple[TrainedOn, ...]":
        """This record without earlier ones, then each of these, newest first."""
        return (replace(self, earlier=()), *self.earlier)

    @property
    def can_tell(self) -> bool:
        """Whether all keys are at hand, or none is needed; all else here needs them."""
        return self.missing_key_id is None

    @property
    def missing_key_id(self) -> str | None:
        """Id of the first key that is needed and not at hand; None where all are."""
        for each in (self, *self.earlier):
            if each.key_id is not None and each.key is None:
                return each.key_id
        return None

    @property
    def told(self) -> "TrainedOn | None":
        """All that the keys at hand can tell, as one record; None where that is nothing."""
        return joined([layer for layer in self.layers if layer.can_tell])

    def until(self, user_id: str) -> float | None:
        """Newest choice of a user that was learned from; None for an unseen user."""
        found = [each.newest.get(each._digest(_USER, user_id)) for each in (self, *self.earlier)]
        return max((at for at in found if at is not None), default=None)

    def chose_by(self, user_id: str) -> bool:
        """Whether a user was in the validation part."""
        return any(
            each._digest(_USER, user_id) in each.validation for each in (self, *self.earlier)
        )

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
        return any(each._learned(user_id, pair) for each in (self, *self.earlier))

    def _learned(self, user_id: str, pair: Pair) -> bool:
        newest = self.newest.get(self._digest(_USER, user_id))
        if newest is None or pair.chosen_at > newest:
            return False
        return not self.prompts or self._digest(_PROMPT, pair.prompt) in self.prompts

    def _digest(self, purpose: str, text: str) -> str:
        if self.key_id is not None and self.key is None:
            raise IdentityKeyMissing(
                f"a checkpoint tells whom it learned from under the identity key {self.key_id},"
                " which is not among those given: name it in identity_key"
            )
        return _digest(self.key, purpose, text)


def joined(layers: Sequence[TrainedOn]) -> TrainedOn | None:
    """One record that tells of whomever any of these tells of; None of none.

    Args:
        layers: without earlier ones, as `TrainedOn.layers` has them.
    """
    if not layers:
        return None
    head, *others = layers
    return replace(head, earlier=tuple(others))


def user_digest(key: IdentityKey | None, user_id: str) -> str:
    """A user's digest in the record; a plain one without a key."""
    return _digest(key, _USER, user_id)


def prompt_digest(key: IdentityKey | None, prompt: str) -> str:
    """A prompt's digest in the record; a plain one without a key."""
    return _digest(key, _PROMPT, prompt)


def write_trained_on(record: TrainedOn, folder: Path) -> None:
    """Put the record into a folder; it replaces an old one once it is complete."""
    values = _to_json(record)
    if record.earlier:
        earlier = [_to_json(each) for each in record.earlier]
        values |= {"format": FORMAT_WITH_EARLIER, "earlier": earlier}
    with replace_file(folder / FILE) as path:
        path.write_text(json.dumps(values, indent=1) + "\n")


def _to_json(record: TrainedOn) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "key_id": record.key_id,
        "newest": dict(record.newest),
        "prompts": sorted(record.prompts),
        "validation": sorted(record.validation),
        "parts": dict(record.parts),
    }


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
        if values.get("format", FORMAT) not in (FORMAT, FORMAT_WITH_EARLIER):
            raise ValueError(
                f"format must be at most {FORMAT_WITH_EARLIER}, got {values['format']}"
            )
        earlier = tuple(_from_json(each, keys) for each in values.get("earlier", ()))
        return replace(_from_json(values, keys), earlier=earlier)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged, or of a later version: copy the checkpoint again, or update recsys"
            f" ({error!r})"
        ) from error


def _from_json(values: Mapping[str, Any], keys: IdentityKeys) -> TrainedOn:
    key_id = values.get("key_id")  # the first format has neither
    return TrainedOn(
        dict(values["newest"]),
        frozenset(values["prompts"]),
        frozenset(values["validation"]),
        dict(values["parts"]),
        key_id,
        None if key_id is None else keys.with_id(key_id),
    )


def _digest(key: IdentityKey | None, purpose: str, text: str) -> str:
    """The first 16 hexadecimal digits; of two users among a million they are never equal."""
    if key is None:
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return key.digest(purpose, text).hex()[:_DIGEST_CHARACTERS]
