"""Where a training step's image tokens come from: computed once for the run, or anew each step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.known import ModelImage
from recsys.images.preprocess import ImagePixels
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore
from training.data.batches import Batches, without_images
from training.data.features import MOST_READERS, OpenTokens
from training.data.known import KnownImages, encoding_frozen
from training.data.loading import ImageCount, read_images, stream_images
from training.data.samples import Sample, images_of

Encode = Callable[[Sequence[int]], Tensor]
"""Rows of the image table -> image tokens (N, T, D)."""

At = tuple[int, int]
"""Step and part."""

ENCODE_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Upcoming:
    """What one process will ask for in one stage.

    Attributes:
        drawn: samples by step and part.
        num_steps: in all.
        parts: this process's.
        num_workers: processes that read ahead; 0 reads when asked.
    """

    drawn: Batches
    num_steps: int
    parts: range
    num_workers: int = 0

    def names(self, begin: At) -> "StepImages":
        """The images of each part from `begin` on."""
        places = [
            (step, part)
            for step in range(begin[0], self.num_steps)
            for part in self.parts
            if (step, part) >= begin
        ]
        return StepImages(self.drawn, places)


@dataclass(frozen=True, eq=False)
class StepImages(Sequence[list[str]]):
    """SHA-256 of the images of each part, drawn when asked for: in a worker, not ahead of it."""

    drawn: Batches
    places: Sequence[At]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        rows = _rows(self.drawn.draw(*self.places[index]))
        return [self.drawn.table.images[row] for row in rows]


@runtime_checkable
class Encoder(Protocol):
    """Image tokens for samples."""

    @property
    def bad(self) -> set[int]:
        """Rows whose images are known to be unreadable."""
        ...

    def prepare(self, upcoming: "Upcoming") -> None:
        """Take what a stage will ask for, and read ahead."""
        ...

    def read(self, samples: Sequence[Sample], at: At) -> tuple[list[Sample], Encode]:
        """The samples of a part without unreadable images, and the tokens of those left."""
        ...

    def rows(self, rows: Sequence[int]) -> Float[Tensor, "N T D"]:
        """Image tokens of any rows, without gradients."""
        ...

    def find_bad(self, rows: Sequence[int]) -> set[int]:
        """Of any rows, those that cannot be read; `bad` has them from now on."""
        ...

    def figures(self) -> dict[str, float]:
        """What of reading belongs in the log."""
        ...

    def of(self, scorer: PreferenceScorer, *, tokens: OpenTokens | None = None) -> "Encoder":
        """The same images for a scorer whose base is held otherwise.

        Args:
            scorer: encodes from now on.
            tokens: of a scorer whose image tokens change no more: opens where they are kept.
        """
        ...


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokens of some images, computed once: nothing that makes them is trained.

    Attributes:
        table: image tokens of the rows that were to be encoded, in the host's memory; those of bad
            ones are zeros.
        place: where a row of the image table is in it.
        device: where tokens go when they are asked for.
        bad: rows that could not be read.
    """

    table: Float[Tensor, "N T D"]
    place: Mapping[int, int]
    device: torch.device
    bad: set[int] = field(default_factory=set)

    def prepare(self, upcoming: "Upcoming") -> None:
        """Everything was read before."""

    def read(self, samples: Sequence[Sample], at: At) -> tuple[list[Sample], Encode]:
        """All samples: pairs with unreadable images were left out before."""
        return list(samples), self.rows

    def rows(self, rows: Sequence[int]) -> Float[Tensor, "N T D"]:
        """Look up image tokens.

        Raises:
            KeyError: if a row was not asked for when the table was made, or cannot be read.
        """
        if not self.place.keys() >= set(rows):
            missing = min(set(rows) - self.place.keys())
            raise KeyError(f"rows must be among those that were encoded, row {missing} is not")
        if not self.bad.isdisjoint(rows):
            unreadable = min(self.bad.intersection(rows))
            raise KeyError(f"rows must be of readable images, that of row {unreadable} is not")
        places = [self.place[row] for row in rows]
        return self.table[torch.as_tensor(places, dtype=torch.long)].to(self.device)

    def find_bad(self, rows: Sequence[int]) -> set[int]:
        """Of any rows, those that could not be read."""
        return self.bad & set(rows)

    def figures(self) -> dict[str, float]:
        """Nothing is read during the run."""
        return {}

    def of(self, scorer: PreferenceScorer, *, tokens: OpenTokens | None = None) -> "Encoded":
        """The same table: adapter and preference tokens leave image tokens as they are."""
        return self


class Fresh:
    """Images read and encoded in each step, with gradients where the vision tower has them.

    Where tokens are kept, nothing that makes them is trained: they are made once, without dropout.

    Args:
        scorer: encodes.
        store: where the images are.
        images: SHA-256 of each row.
        limits: of each image, bytes and pixels.
        tokens: keeps those of the scorer; None: they are made anew in each step.
    """

    def __init__(
        self,
        scorer: PreferenceScorer,
        store: HistoryStore,
        images: Sequence[str],
        *,
        limits: ImageLimits,
        tokens: ImageTokenCache | None = None,
    ) -> None:
        self.bad: set[int] = set()
        self.count = ImageCount()
        self._scorer = scorer
        self._store = store
        self._images = images
        self._limits = limits
        self._known = KnownImages(tokens)
        self._row_of = {name: row for row, name in enumerate(images)}
        self._upcoming: Upcoming | None = None
        self._stream: Iterator[Mapping[str, ImagePixels]] | None = None

    def prepare(self, upcoming: Upcoming) -> None:
        """Read ahead in worker processes, from the first part that is asked for."""
        self._upcoming = upcoming if upcoming.num_workers else None
        self._stream = None

    def read(self, samples: Sequence[Sample], at: At) -> tuple[list[Sample], Encode]:
        """Take the samples' images; pairs with an unreadable one are left out.

        Raises:
            TooManyBadImages: as `ImageCount.take`.
        """
        wanted = _rows(samples)
        images = self._take(wanted, at) if self._upcoming else self._read(wanted)
        kept = without_images(samples, self.bad)

        def encode(order: Sequence[int]) -> Tensor:
            return self._encode([images[row] for row in order])

        return kept, encode

    @torch.no_grad()
    def rows(self, rows: Sequence[int]) -> Float[Tensor, "N T D"]:
        """Read and encode rows."""
        images = self._read(sorted(set(rows)))
        return self._encode([images[row] for row in rows])

    def find_bad(self, rows: Sequence[int]) -> set[int]:
        """Decode rows, several at once, and say which cannot be.

        Raises:
            TooManyBadImages: as `ImageCount.take`.
        """
        asked = sorted(set(rows))
        for start in range(0, len(asked), ENCODE_AT_ONCE):
            self._read(asked[start : start + ENCODE_AT_ONCE])
        return self.bad & set(asked)

    def figures(self) -> dict[str, float]:
        """How many images were bad so far, and the share of the time spent waiting for images."""
        figures = {"bad_images": float(len(self.count.bad))}
        return figures | ({"waiting": self.count.waiting_share} if self._upcoming else {})

    def of(self, scorer: PreferenceScorer, *, tokens: OpenTokens | None = None) -> "Fresh":
        """The same images for another scorer; what was bad stays bad."""
        kept = None if tokens is None else tokens(scorer)
        other = Fresh(scorer, self._store, self._images, limits=self._limits, tokens=kept)
        other.bad, other.count = self.bad, self.count
        return other

    def _encode(self, images: Sequence[ModelImage]) -> Float[Tensor, "N T D"]:
        if self._known.tokens is None:
            return self._scorer.image_features(images)
        with encoding_frozen(self._scorer):
            return self._scorer.image_features(images)

    def _take(self, rows: Sequence[int], at: At) -> dict[int, ModelImage]:
        """The next part's images: workers have read them, but for those whose tokens are kept."""
        assert self._upcoming is not None
        tokens = self._known.tokens
        if self._stream is None:
            urls = self._store.database.url.render_as_string(hide_password=False)
            self._stream = stream_images(
                urls,
                self._store.blobs.url,
                self._upcoming.names(at),
                count=self.count,
                limits=self._limits,
                geometry=self._scorer.geometry,
                num_workers=self._upcoming.num_workers,
                kept=None if tokens is None else tokens.folder,
            )
        decoded = next(self._stream)
        self.bad |= {self._row_of[name] for name in self.count.bad}
        images = self._known.kept([self._images[row] for row in rows])
        images |= self._known.to_keep({n: image for n, image in decoded.items() if n not in images})
        taken = {self._row_of[name]: image for name, image in images.items()}
        left = [row for row in rows if row not in taken and row not in self.bad]
        return taken | self._read(left) if left else taken

    def _read(self, rows: Sequence[int]) -> dict[int, ModelImage]:
        images = self._known.kept([self._images[row] for row in rows])
        by_name = {self._images[row]: row for row in rows if self._images[row] not in images}
        decoded, bad = read_images(
            self._store, list(by_name), limits=self._limits, num_threads=MOST_READERS
        )
        self.count.take(len(by_name), bad)
        self.bad |= {by_name[name] for name in bad}
        images |= self._known.to_keep(decoded)
        return {self._row_of[name]: image for name, image in images.items()}


def _rows(samples: Sequence[Sample]) -> list[int]:
    """All images of samples, once each."""
    return sorted({row for s in samples for row in images_of((*s.references, *s.pairs))})


@torch.no_grad()
def encode_all(
    scorer: PreferenceScorer,
    store: HistoryStore,
    images: Sequence[str],
    rows: Sequence[int],
    *,
    limits: ImageLimits,
    console: Console,
    num_workers: int = 0,
    tokens: ImageTokenCache | None = None,
) -> Encoded:
    """Read and encode rows once, telling how long the model waited for images.

    The tokens stay in the host's memory: those of a large base would leave a GPU no room.

    Args:
        scorer: encodes.
        store: where the images are.
        images: SHA-256 of each row of the table.
        rows: those that are needed.
        limits: of each image, bytes and pixels.
        console: where progress is shown.
        num_workers: processes that decode.
        tokens: keeps those of the scorer beyond this run; None: all are made now.

    Raises:
        TooManyBadImages: as `ImageCount.take`.
    """
    known = KnownImages(tokens)
    row_of = {images[row]: row for row in rows}
    place = {row: number for number, row in enumerate(row_of.values())}
    names = list(row_of)
    chunks = [
        names[start : start + ENCODE_AT_ONCE] for start in range(0, len(names), ENCODE_AT_ONCE)
    ]
    empty = scorer.image_features([])
    table = torch.zeros(len(names), *empty.shape[1:], dtype=empty.dtype)
    count = ImageCount()
    urls = store.database.url.render_as_string(hide_password=False), store.blobs.url
    stream = stream_images(
        *urls,
        chunks,
        count=count,
        limits=limits,
        geometry=scorer.geometry,
        num_workers=num_workers,
        kept=None if tokens is None else tokens.folder,
    )
    for chunk, decoded in zip(
        chunks, track(stream, "encoding images", total=len(chunks), console=console), strict=True
    ):
        found = known.to_keep(decoded)
        left = [name for name in chunk if name not in found and name not in count.bad]
        found |= known.kept(left)
        if found:
            with encoding_frozen(scorer):
                made = scorer.image_features([*found.values()])
            table[[place[row_of[name]] for name in found]] = made.cpu()
    if count.bad:
        console.print(f"{len(count.bad)} unreadable images left out: {', '.join(count.bad[:10])}")
    console.print(f"waited for images {count.waiting_share:.0%} of the time")
    return Encoded(table, place, empty.device, {row_of[name] for name in count.bad})
