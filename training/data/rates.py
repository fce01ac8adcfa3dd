"""How many images a second the data side delivers, measured without the model."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from storage.histories import HistoryStore
from training.data.loading import ImageCount, stream_images

MEASURE_S = 5.0
"""For how long, at most."""


@dataclass(frozen=True)
class DataRate:
    """What was measured.

    Attributes:
        source: of the images: "decoding", "tokens on disk" or "tokens in memory".
        num_workers: processes at work; 0: the one that trains.
        num_images: delivered while it was measured.
        images_per_s: delivered a second; 0 if there was no image to deliver.
    """

    source: str
    num_workers: int
    num_images: int
    images_per_s: float


def decoding_rate(
    store: HistoryStore,
    batches: Sequence[Sequence[str]],
    *,
    limits: ImageLimits,
    geometry: ImageGeometry,
    num_workers: int,
    most_s: float = MEASURE_S,
) -> DataRate:
    """Read and decode images as training does, and nothing else.

    What workers have read ahead by the time when all have started does not count.

    Args:
        store: where the images are.
        batches: SHA-256 of the images of each part of a step.
        limits: of each image, bytes and pixels.
        geometry: the model's.
        num_workers: processes that decode; 0 decodes in this one.
        most_s: for how long, at most.

    Raises:
        TooManyBadImages: as `ImageCount.take`.
    """
    count, uncounted = ImageCount(), 0
    url = store.database.url.render_as_string(hide_password=False)
    stream = stream_images(
        url,
        store.blobs.url,
        batches,
        count=count,
        limits=limits,
        geometry=geometry,
        num_workers=num_workers,
    )
    began = ended = time.perf_counter()
    for number, _ in enumerate(stream):
        ended = time.perf_counter()
        if number == 2 * num_workers:
            began, uncounted = ended, count.num_read
        elif number > 2 * num_workers and ended - began > most_s:
            break
    return _rate("decoding", num_workers, count.num_read - uncounted, ended - began)


def token_rate(
    tokens: ImageTokenCache, names: Iterable[str], *, most_s: float = MEASURE_S
) -> DataRate:
    """Take tokens of images from where they are kept: from disk where a folder keeps them.

    Args:
        tokens: of a scorer.
        names: SHA-256 of images; those without tokens do not count.
        most_s: for how long, at most.
    """
    read = tokens.get if tokens.folder is None else tokens.folder.read
    source = "tokens in memory" if tokens.folder is None else "tokens on disk"
    num_images, spent_s = 0, 0.0
    for name in names:
        began = time.perf_counter()
        found = read(name) is not None
        num_images += found
        spent_s += (time.perf_counter() - began) if found else 0.0
        if spent_s > most_s:
            break
    return _rate(source, 0, num_images, spent_s)


def _rate(source: str, num_workers: int, num_images: int, spent_s: float) -> DataRate:
    return DataRate(
        source, num_workers, num_images, num_images / spent_s if num_images and spent_s else 0.0
    )
