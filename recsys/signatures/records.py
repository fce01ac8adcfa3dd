"""What a caller is told of a signature. Values alone: the client imports them without tensors."""

from dataclasses import dataclass

from storage.records import Signature


@dataclass(frozen=True, slots=True, eq=False)
class CurrentSignature:
    """A user's signature, and whether it knows the newest choice.

    Attributes:
        signature: of the user.
        is_stale: True if the user has chosen since and it could not be computed anew.
    """

    signature: Signature
    is_stale: bool
