"""Secret keys that turn the id of a person into a digest which names them to nobody else.

A digest without a key would not do: ids are often numbers, and all numbers are soon tried.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from storage.errors import IdentityKeyMissing

MIN_KEY_CHARS = 16
KEY_ID_CHARS = 16


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """A secret, and what may be told of it.

    Attributes:
        secret: at least `MIN_KEY_CHARS` bytes, best random ones.
    """

    secret: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """A digest of the key, 16 hexadecimal digits, by which others tell which key they need."""
        return self.digest("key id", "").hex()[:KEY_ID_CHARS]

    def digest(self, purpose: str, text: str) -> bytes:
        """HMAC-SHA256 (RFC 2104) of a text for one purpose, 32 bytes.

        Digests for two purposes cannot be matched without the key.
        """
        message = f"{purpose}\x00{text}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class IdentityKeys:
    """The keys at hand: the current one, with which digests are made, and older ones.

    Attributes:
        keys: the current one first; may be empty.
    """

    keys: tuple[IdentityKey, ...] = ()

    @staticmethod
    def of(secrets: Iterable[str]) -> "IdentityKeys":
        """Read keys from text, the current one first; one that comes twice counts once.

        Raises:
            ValueError: if one has fewer than `MIN_KEY_CHARS` characters; it is not shown.
        """
        kept = list(dict.fromkeys(secret.strip() for secret in secrets))
        for place, secret in enumerate(kept, start=1):
            if len(secret) < MIN_KEY_CHARS:
                raise ValueError(
                    f"an identity key must have at least {MIN_KEY_CHARS} characters, got"
                    f" {len(secret)} in key {place}: make one with `openssl rand -hex 32`"
                )
        return IdentityKeys(tuple(IdentityKey(secret.encode()) for secret in kept))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The id of each key, the current one first."""
        return tuple(key.key_id for key in self.keys)

    @property
    def current(self) -> IdentityKey:
        """The key that new digests are made with.

        Raises:
            IdentityKeyMissing: if there is none.
        """
        if not self.keys:
            raise IdentityKeyMissing(
                "an identity key is needed and none is given: set identity_key"
            )
        return self.keys[0]

    def with_id(self, key_id: str) -> IdentityKey | None:
        """The key of an id, if it is at hand."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def known(self) -> "IdentityKeys":
        """These keys, as a `KeySource` gives them."""
        return self

    def needed(self) -> "IdentityKeys":
        """Likewise; raises IdentityKeyMissing as `current`."""
        _ = self.current
        return self


@runtime_checkable
class KeySource(Protocol):
    """Where keys come from; asked each time, for another process may make the first one."""

    def known(self) -> IdentityKeys:
        """The keys there are; maybe none."""

    def needed(self) -> IdentityKeys:
        """At least one key, which may be made for it.

        Raises:
            IdentityKeyMissing: if there is none, and none may be made.
        """


NO_KEYS = IdentityKeys()
