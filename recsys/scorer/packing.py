"""One user prefix, many candidates: where each token stands and whom it may look at.

A row is [P_v ; prefix ; candidate 1 ; candidate 2 ; ...]. Each token has a segment: 0 for what all
share, i >= 1 for candidate i, -1 for padding. Candidates do not see each other and all continue the
prefix, so their positions start alike: a candidate's score is what a pass of its own would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SHARED = 0
PADDING = -1


@dataclass(frozen=True)
class Tokens:
    """A piece of input: ids, and which of them stand for image features.

    Attributes:
        ids: token ids; at image places the id of the image token.
        is_image: True where an image feature replaces the embedding, T in a row for each image.
    """

    ids: tuple[int, ...]
    is_image: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.is_image)

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.ids + other.ids, self.is_image + other.is_image)


@dataclass(frozen=True, eq=False)
class Packed:
    """B rows of L tokens, ready for the decoder; preference tokens are not among them.

    Attributes:
        ids: token ids, 0 at padding.
        is_image: where image features go, in row-major order.
        segments: 0 shared, 1..C the candidate, -1 padding.
        positions: place in the sequence that the token would have in a pass of its own, counted
            from `first_position`.
        readouts: index in the row of each candidate's last token; -1 where a row has fewer.
    """

    ids: Int[Tensor, "B L"]
    is_image: Bool[Tensor, "B L"]
    segments: Int[Tensor, "B L"]
    positions: Int[Tensor, "B L"]
    readouts: Int[Tensor, "B C"]

    def to(self, device: torch.device) -> "Packed":
        """The same rows on another device."""
        return Packed(
            self.ids.to(device),
            self.is_image.to(device),
            self.segments.to(device),
            self.positions.to(device),
            self.readouts.to(device),
        )


def pack(
    prefixes: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    *,
    first_position: int | Sequence[int] = 0,
) -> Packed:
    """Lay out B rows: each user's prefix, then that user's candidates side by side.

    Args:
        prefixes: B pieces; may be empty when the prefix is already in a cache.
        candidates: B lists of pieces; lists may differ in length and may be empty.
        first_position: position of a row's first token (what stands before it); of all rows, or
            one for each.

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    if not prefixes or len(prefixes) != len(candidates):
        raise ValueError(
            "prefixes and candidates must pair up and not be empty, "
            f"got {len(prefixes)} and {len(candidates)}"
        )
    begins = [first_position] * len(prefixes) if isinstance(first_position, int) else first_position
    rows = [_row(*each) for each in zip(prefixes, candidates, begins, strict=True)]
    length = max(len(row.ids) for row in rows)
    width = max(len(row.readouts) for row in rows)
    return Packed(
        ids=_pad([row.ids for row in rows], length, 0),
        is_image=_pad([row.is_image for row in rows], length, 0).bool(),
        segments=_pad([row.segments for row in rows], length, PADDING),
        positions=_pad([row.positions for row in rows], length, 0),
        readouts=_pad([row.readouts for row in rows], width, -1),
    )


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    is_image: list[int]
    segments: list[int]
    positions: list[int]
    readouts: list[int]


def _row(prefix: Tokens, candidates: Sequence[Tokens], first_position: int) -> _Row:
    ids, is_image = list(prefix.ids), [int(flag) for flag in prefix.is_image]
    segments = [SHARED] * len(prefix)
    start = first_position + len(prefix)
    positions = list(range(first_position, start))
    readouts = []
    for segment, candidate in enumerate(candidates, start=1):
        ids += candidate.ids
        is_image += [int(flag) for flag in candidate.is_image]
        segments += [segment] * len(candidate)
        positions += range(start, start + len(candidate))
        readouts.append(len(ids) - 1)
    return _Row(ids, is_image, segments, positions, readouts)


def _pad(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    padded = [[*row, *[value] * (length - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), length)


def attention_mask(
    queries: Int[Tensor, "B q"], keys: Int[Tensor, "B k"], *, dtype: torch.dtype
) -> Float[Tensor, "B 1 q k"]:
    """Who may look at whom: causal, the shared part for all, a candidate only at itself.

    The q queries are the last q of the k keys.

    Args:
        queries: segment of each query.
        keys: segment of each key, in sequence order.
        dtype: of the mask; 0 where allowed, the type's lowest finite value elsewhere.
    """
    num_queries, num_keys = queries.shape[1], keys.shape[1]
    index = torch.arange(num_keys, device=keys.device)
    causal = index[None, :] <= index[num_keys - num_queries :, None]  # (q, k)
    key = keys[:, None, :]
    allowed = causal & (key != PADDING) & ((key == SHARED) | (key == queries[:, :, None]))
    mask = torch.zeros(allowed.shape, dtype=dtype, device=keys.device)
    # A finite floor, for a padding query sees nothing and -inf throughout would give NaN.
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
