"""A user as the scorer reads one: encoded references, and the prefix that is kept of them.

Axes: R references, N images, T tokens of an image, K preference tokens, D hidden width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recsys.scorer._key_values import KeyValues
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed


@dataclass(frozen=True, eq=False)
class ReferenceTokens:
    """A user's references whose images are encoded already.

    Attributes:
        prompts: of R references, oldest first.
        features: image tokens of each reference's two images, in the order in which they stand:
            N = 2R.
        liked_first: of each reference, whether its liked image stands first; None: of all, as
            served.
        preference: preference tokens of the user's audience; None: the scorer's own.
    """

    prompts: Sequence[str]
    features: Float[Tensor, "N T D"]
    liked_first: Sequence[bool] | None = None
    preference: Float[Tensor, "K D"] | None = None


@dataclass(frozen=True, eq=False)
class Prefix:
    """A user as the decoder keeps it: keys and values of [P_v ; references], nothing else.

    Attributes:
        key_values: of K preference tokens and the reference tokens.
        num_positions: how many positions they stand on.
        num_references: how many references were read.
        borrowed: what of it is other users': nothing.
    """

    key_values: KeyValues
    num_positions: int
    num_references: int
    borrowed: Borrowed = NOTHING_BORROWED

    @property
    def num_bytes(self) -> int:
        """Memory that keeping this user warm costs, bytes."""
        return self.key_values.num_bytes
