"""Signatures as they are answered. Plain values: the client imports them without tensors."""

from dataclasses import dataclass

from storage.records import Signature


@dataclass(frozen=True, slots=True, eq=False)
class CurrentSignature:
    """A user's signature, and whether it includes the newest choice.

    Attributes:
        signature: of the user.
        is_stale: whether the user has chosen since and it could not be recomputed.
    """

    signature: Signature
    is_stale: bool
