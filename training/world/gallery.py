"""The images of a synthetic world: rendered once, kept on disk, read by prompt."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import numpy as np
from jaxtyping import Float, UInt8

from storage.records import ImageFacts
from training.world.render import encode_jpeg, render
from training.world.scenes import ATTRIBUTES, attributes, prompt_text, sample_prompt, sample_scene
from training.world.truth import DIGEST_BYTES

_IMAGE_STREAM = 21

WorldProgress = Callable[[str, int, int], None]
"""Called with what is being made ("images" or "people"), how many are done, and of how many."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Encoded images by prompt: their bytes in a file, their attributes in memory.

    Axis letters: G prompts, I images of a prompt, A attributes.

    Attributes:
        prompts: the text of each prompt.
        attributes: shape (G, I, A), float32.
        digests: shape (G, I, 32), SHA-256 of each image.
        size_px: width and height of each.
        offsets: where each image's bytes begin in the file, and the end of the last.
        file: all bytes, one image after the other.
    """

    prompts: tuple[str, ...]
    attributes: Float[np.ndarray, "G I A"]
    digests: UInt8[np.ndarray, "G I 32"]
    size_px: int
    offsets: tuple[int, ...]
    file: IO[bytes]

    @property
    def images_per_prompt(self) -> int:
        """I, the same for every prompt."""
        return int(self.digests.shape[1])

    def sha256(self, prompt: int, image: int) -> str:
        """SHA-256 of an image, in hexadecimal."""
        return bytes(self.digests[prompt, image]).hex()

    def read(self, prompt: int, image: int) -> tuple[ImageFacts, bytes]:
        """An image as storage takes it."""
        index = prompt * self.images_per_prompt + image
        self.file.seek(self.offsets[index])
        data = self.file.read(self.offsets[index + 1] - self.offsets[index])
        sha256 = self.sha256(prompt, image)
        return ImageFacts(sha256, "image/jpeg", self.size_px, self.size_px, len(data)), data


def draw_gallery(
    file: IO[bytes],
    *,
    num_prompts: int,
    images_per_prompt: int,
    size_px: int = 128,
    seed: int,
    progress: WorldProgress = lambda what, done, total: None,
) -> Gallery:
    """Draw images into `file`; all of one prompt agree in what it says and differ in the rest.

    Each prompt has random numbers of its own, so that a larger gallery begins as a smaller one.

    Args:
        file: open for reading and writing, empty; must outlive the gallery.
        num_prompts, images_per_prompt: at least 1.
        size_px: width and height.
        seed: decides all; at least 0.
        progress: called after each prompt.
    """
    prompts: list[str] = []
    offsets = [0]
    shape = (num_prompts, images_per_prompt)
    values = np.zeros((*shape, len(ATTRIBUTES)), dtype=np.float32)
    digests = np.zeros((*shape, DIGEST_BYTES), dtype=np.uint8)
    for row in range(num_prompts):
        rng = np.random.default_rng([seed, _IMAGE_STREAM, row])
        prompt = sample_prompt(rng)
        prompts.append(prompt_text(prompt))
        for column in range(images_per_prompt):
            scene = sample_scene(prompt, rng)
            data = encode_jpeg(render(scene, size_px))
            offsets.append(offsets[-1] + file.write(data))
            values[row, column] = attributes(scene)
            digests[row, column] = np.frombuffer(hashlib.sha256(data).digest(), dtype=np.uint8)
        progress("images", (row + 1) * images_per_prompt, num_prompts * images_per_prompt)
    return Gallery(tuple(prompts), values, digests, size_px, tuple(offsets), file)
