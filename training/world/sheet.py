"""A picture of the synthetic world: images of a few prompts, and what two people chose."""

import tempfile

import numpy as np
from jaxtyping import Float, UInt8

from training.world.communities import Communities, draw_communities, draw_tastes
from training.world.contact_sheet import LIKED, PASSED_OVER, SheetRow, Tile, contact_sheet
from training.world.gallery import Gallery, draw_gallery
from training.world.render import decode_jpeg
from training.world.scenes import ATTRIBUTES
from training.world.tastes import choose

_NUM_ASKED = 30
_PEOPLE_STREAM = 31

_OPPOSITES = {
    "warmth": ("cold", "warm"),
    "brightness": ("dark", "bright"),
    "saturation": ("muted", "vivid"),
    "texture": ("smooth", "patterned"),
    "contrast": ("soft", "contrasting"),
    "nature": ("made things", "nature"),
    "count": ("few", "many"),
    "size": ("small", "large"),
    "height": ("low", "high"),
}


def world_sheet(
    *,
    seed: int = 0,
    communities_seed: int = 0,
    num_prompts: int = 4,
    images_per_prompt: int = 8,
    tile_px: int = 128,
) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of images by prompt; then, for two people, what they liked and what they passed over.

    Both people are shown the same two images of each prompt, one prompt a column.

    Args:
        seed: decides images and people.
        communities_seed: decides the communities.
        num_prompts: rows of images, at least 1.
        images_per_prompt: columns, at least 2.
        tile_px: width and height of each image.
    """
    with tempfile.TemporaryFile() as file:
        gallery = draw_gallery(
            file,
            num_prompts=num_prompts + images_per_prompt,
            images_per_prompt=images_per_prompt,
            size_px=tile_px,
            seed=seed,
        )
        rows = [
            SheetRow(
                f"“{gallery.prompts[prompt]}”",
                [Tile(_pixels(gallery, prompt, image)) for image in range(images_per_prompt)],
            )
            for prompt in range(num_prompts)
        ]
        rng = np.random.default_rng([seed, _PEOPLE_STREAM])
        tastes = _two_unlike(draw_communities(seed=communities_seed), rng)
        asked = range(num_prompts, num_prompts + images_per_prompt)
        for name, taste in zip("AB", tastes, strict=True):
            rows += _choices(gallery, asked, name, taste, rng)
    return contact_sheet(rows, tile_px=tile_px)


def describe_taste(taste: Float[np.ndarray, " A"], num_words: int = 3) -> str:
    """The strongest preferences in words, the strongest first: "cold, many, made things"."""
    strongest = np.argsort(-np.abs(taste))[:num_words]
    return ", ".join(_OPPOSITES[ATTRIBUTES[index]][int(taste[index] > 0)] for index in strongest)


def _two_unlike(communities: Communities, rng: np.random.Generator) -> Float[np.ndarray, "2 A"]:
    """Of some people the two who disagree most."""
    tastes, _ = draw_tastes(communities, _NUM_ASKED, rng)
    agreement = tastes @ tastes.T
    first, second = np.unravel_index(np.argmin(agreement), agreement.shape)
    return tastes[[first, second]]


def _choices(
    gallery: Gallery,
    asked: range,
    name: str,
    taste: Float[np.ndarray, " A"],
    rng: np.random.Generator,
) -> list[SheetRow]:
    liked, passed_over = [], []
    for prompt in asked:
        shown = gallery.attributes[prompt, :2].astype(np.float64)
        best = choose(taste, shown, rng)
        liked.append(Tile(_pixels(gallery, prompt, best), frame=LIKED))
        passed_over.append(Tile(_pixels(gallery, prompt, 1 - best), frame=PASSED_OVER))
    return [
        SheetRow(f"Person {name} wants {describe_taste(taste)}: liked", liked),
        SheetRow("… and passed over", passed_over),
    ]


def _pixels(gallery: Gallery, prompt: int, image: int) -> UInt8[np.ndarray, "S S 3"]:
    _, data = gallery.read(prompt, image)
    return decode_jpeg(data)
