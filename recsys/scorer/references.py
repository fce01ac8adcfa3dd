"""From the names of a history's images to the references that the model reads."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from recsys.history import ReferencePair
from recsys.images.known import ModelImage
from recsys.images.reader import ImageReader
from recsys.scorer.model import Reference


def read_references(
    pairs: Sequence[ReferencePair], images: ImageReader, threads: Executor
) -> list[Reference]:
    """Decode references, oldest first, leaving out those with an image that cannot be read.

    Args:
        pairs: whose images to read, each image once.
        images: reads them.
        threads: to read in; not those that this is called in, or it may wait for itself.
    """
    names = image_names(pairs)
    return pair_up(pairs, dict(zip(names, threads.map(images.read_or_none, names), strict=True)))


def image_names(pairs: Sequence[ReferencePair]) -> list[str]:
    """SHA-256 of the images of some pairs, each once."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.liked, pair.disliked)))


def pair_up(
    pairs: Sequence[ReferencePair], images: Mapping[str, ModelImage | None]
) -> list[Reference]:
    """References of those pairs of which both images could be read, in their order.

    Args:
        pairs: by the names of their images.
        images: by SHA-256, as the scorer takes them; None where one cannot be read.
    """
    references = (_reference(pair, images) for pair in pairs)
    return [each for each in references if each is not None]


def _reference(pair: ReferencePair, images: Mapping[str, ModelImage | None]) -> Reference | None:
    liked, disliked = images[pair.liked], images[pair.disliked]
    if liked is None or disliked is None:
        return None
    return Reference(liked, disliked, pair.prompt)
