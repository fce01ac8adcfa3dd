"""Images from storage, decoded by worker processes ahead of the model.

Workers open the store themselves; only batches in flight are in memory, however many images there
are. An image that cannot be read is skipped, counted and named; more than one in a hundred stops
the run, for then the data is damaged and not an image.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recsys.errors import ImageRefused
from recsys.image_tokens.folder import TokenFolder
from recsys.images.decode import ImageLimits, decode
from recsys.images.preprocess import ImageGeometry, ImagePixels, shrunk
from storage.blobs import BlobStore
from storage.database import Database
from storage.errors import StorageError
from storage.histories import HistoryStore

MOST_WORKERS = 8
"""By default. Each holds two parts of a step ready: 230 MB of 36 images of 1024 px a part."""

MOST_BAD_SHARE = 0.01
FEWEST_TO_JUDGE = 100
_SHOWN = 10

Image = UInt8[Tensor, "3 h w"]

DecodedBatch = tuple[dict[str, npt.NDArray[Any]], list[str]]
"""A worker's result: images (3, h, w) by SHA-256, and those that could not be read."""


def default_workers(device: str) -> int:
    """Processes that decode beside one that trains, where nobody says how many.

    On a GPU its share of the machine's cores less one, 1 to `MOST_WORKERS`: reading in turn with it
    would let it wait. On the CPU none, for they would take their cores from the model.

    Args:
        device: "cpu", "cuda" or "cuda:N".
    """
    if torch.device(device).type == "cpu":
        return 0
    is_told = hasattr(os, "sched_getaffinity")  # what a container or a scheduler leaves
    num_cores = len(os.sched_getaffinity(0)) if is_told else os.cpu_count() or 1
    num_trainers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # as torchrun and accelerate set it
    return min(max(num_cores // num_trainers - 1, 1), MOST_WORKERS)


class TooManyBadImages(ValueError):
    """More than one image in a hundred cannot be read; the message names some."""


@dataclass
class ImageCount:
    """Statistics of reading images.

    Attributes:
        num_read: images requested.
        bad: SHA-256 of those that could not be read, in the order in which they were met.
        waited_s: seconds that the consumer waited for images.
        worked_s: seconds that it did something else.
    """

    num_read: int = 0
    bad: list[str] = field(default_factory=list)
    waited_s: float = 0.0
    worked_s: float = 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time spent waiting for images, in [0, 1]."""
        return self.waited_s / max(self.waited_s + self.worked_s, 1e-9)

    def take(self, num_read: int, bad: Sequence[str], *, is_last: bool = False) -> None:
        """Count a batch.

        Args:
            num_read: images requested.
            bad: SHA-256 of those that could not be read.
            is_last: whether no batch follows.

        Raises:
            TooManyBadImages: if more than 1 % are bad, once 100 were read or all were.
        """
        self.num_read += num_read
        self.bad += [sha for sha in bad if sha not in self.bad]
        is_judged = is_last or self.num_read >= FEWEST_TO_JUDGE
        if is_judged and len(self.bad) > MOST_BAD_SHARE * self.num_read:
            shown = ", ".join(sha[:12] for sha in self.bad[:_SHOWN])
            raise TooManyBadImages(
                f"at most 1 % of images may be unreadable, got {len(self.bad)} of "
                f"{self.num_read}: restore them or import again ({shown})"
            )


class ImageBatches(Dataset[DecodedBatch]):
    """Batches of images by SHA-256; each item holds the readable images and names the others.

    Items are arrays, which are sent by value: each tensor would hold an open file and shared memory
    until it is used, and many workers would run out of either. They own their memory: a tensor that
    the sending thread gives back while the worker ends would abort the worker, for PyTorch takes
    the interpreter's lock again there.

    Args:
        database_url, blob_url: where workers open the store.
        batches: SHA-256 of each batch's images.
        limits: of each image, bytes and pixels.
        geometry: the model's; None: images stay as large as they are.
        kept: images with tokens here are left out; None: none are.
    """

    def __init__(
        self,
        database_url: str,
        blob_url: str,
        batches: Sequence[Sequence[str]],
        *,
        limits: ImageLimits,
        geometry: ImageGeometry | None = None,
        kept: TokenFolder | None = None,
    ) -> None:
        self._urls = database_url, blob_url
        self._batches = batches
        self._limits = limits
        self._geometry = geometry
        self._kept = kept
        self._store: HistoryStore | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> DecodedBatch:
        if self._store is None:
            database_url, blob_url = self._urls
            self._store = HistoryStore(Database(database_url), BlobStore(blob_url))
        wanted = self._batches[index]
        if self._kept is not None:
            wanted = [sha256 for sha256 in wanted if sha256 not in self._kept]
        images, bad = read_images(self._store, wanted, limits=self._limits)
        return {sha256: self._sent(image).numpy().copy() for sha256, image in images.items()}, bad

    def _sent(self, image: Image) -> ImagePixels:
        """As bytes, which are resized where the model is, unless they are the longer way there."""
        return image if self._geometry is None else shrunk(image, self._geometry)


def read_images(
    store: HistoryStore, sha256s: Sequence[str], *, limits: ImageLimits, num_threads: int = 1
) -> tuple[dict[str, Image], list[str]]:
    """Decoded images by SHA-256, and those that could not be read.

    Bytes whose SHA-256 is another are damaged, which a decoder often does not notice.

    Args:
        store: where the images are.
        sha256s: of the images.
        limits: of each image, bytes and pixels; one beyond them could not be read.
        num_threads: that read and decode at once, at least 1.
    """
    names = list(dict.fromkeys(sha256s))
    with ThreadPoolExecutor(num_threads) as threads:
        read = list(threads.map(partial(_read_image, store, limits=limits), names))
    images = {name: image for name, image in zip(names, read, strict=True) if image is not None}
    return images, [name for name in names if name not in images]


def _read_image(store: HistoryStore, sha256: str, *, limits: ImageLimits) -> Image | None:
    """An image; None: it cannot be read."""
    try:
        data = store.image(sha256)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ImageRefused(f"image {sha256[:12]} must have its own bytes: restore it")
        return decode(data, limits)
    except (ImageRefused, StorageError, FileNotFoundError):
        return None


def stream_images(
    database_url: str,
    blob_url: str,
    batches: Sequence[Sequence[str]],
    *,
    count: ImageCount,
    limits: ImageLimits,
    geometry: ImageGeometry | None = None,
    num_workers: int = 0,
    kept: TokenFolder | None = None,
) -> Iterator[Mapping[str, ImagePixels]]:
    """Yield the readable images of each batch, in order, read ahead by workers.

    Args:
        database_url, blob_url: of the store.
        batches: SHA-256 of each batch's images.
        count: updated with every batch.
        limits: of each image, bytes and pixels.
        geometry: the model's, to which the largest are brought by the workers, as in serving;
            None: images stay as large as they are.
        num_workers: processes that decode; 0 decodes in this one.
        kept: images with tokens here need not be read and are left out; None: all are read.

    Raises:
        TooManyBadImages: as `ImageCount.take`.
    """
    loader = DataLoader(
        ImageBatches(database_url, blob_url, batches, limits=limits, geometry=geometry, kept=kept),
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,
        prefetch_factor=2 if num_workers else None,
        collate_fn=_as_it_is,
    )
    asked_at = time.monotonic()
    for number, (images, bad) in enumerate(loader):
        came_at = time.monotonic()
        count.waited_s += came_at - asked_at
        is_last = number + 1 == len(batches)
        count.take(len(images) + len(bad), bad, is_last=is_last)
        yield {sha256: torch.from_numpy(image) for sha256, image in images.items()}
        asked_at = time.monotonic()
        count.worked_s += asked_at - came_at


def _as_it_is(item: Any) -> Any:
    """In place of the loader's own collation, which makes tensors in the worker."""
    return item
