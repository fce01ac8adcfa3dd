"""Draw a scene as a flat illustration.

A background in one hue (sky, hills, a disc, a pattern over all), figures in front of it. The same
scene at the same size gives the same pixels.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from training.world._palette import NUM_LIGHTNESS, Shades, hue_of, shades
from training.world._silhouettes import MAX_TILT_DEG, SILHOUETTES, Part
from training.world.scenes import Scene

JPEG_QUALITY = 92

_DARKEST, _BRIGHTEST = 0.30, 0.84
_LEAST_CONTRAST, _MOST_CONTRAST = 0.13, 0.40
_MOST_PATTERN = 0.10
_SMALLEST, _LARGEST = 0.085, 0.25
# So many figures must find room side by side: the more there are, the smaller all of them.
_CROWD = {1: 1.0, 2: 0.88, 3: 0.8, 4: 0.74, 5: 0.64}
_ROWS = {
    1: ((1,),),
    2: ((2,),),
    3: ((3,), (1, 2), (2, 1)),
    4: ((2, 2), (1, 3), (3, 1)),
    5: ((2, 3), (3, 2)),
}

Field = Float[np.ndarray, "S S"]
Mask = Bool[np.ndarray, "S S"]


def render(scene: Scene, size_px: int = 128) -> UInt8[np.ndarray, "S S 3"]:
    """RGB pixels of a scene, shape (size_px, size_px, 3).

    Args:
        scene: what to draw.
        size_px: width and height, at least 16.

    Raises:
        ValueError: if the size is below 16.
    """
    if size_px < 16:
        raise ValueError(f"size_px must be at least 16, got {size_px}")
    rng = np.random.default_rng([scene.seed, 3])
    background = _background(scene, size_px, rng)
    # Figures are drawn larger and then reduced: that smooths their edges.
    factor = 2 if size_px >= 96 else 3
    large = (size_px * factor, size_px * factor)
    image = Image.fromarray(background).resize(large, Image.Resampling.BILINEAR)
    _draw_figures(image, scene, rng)
    return np.asarray(image.reduce(factor))


def encode_jpeg(rgb: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Pixels -> JPEG; the same pixels give the same bytes."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """What `encode_jpeg` returned -> pixels; not for images of others, which it does not check."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def _lightness(scene: Scene) -> float:
    return _DARKEST + (_BRIGHTEST - _DARKEST) * scene.brightness


def _background(scene: Scene, size_px: int, rng: np.random.Generator) -> UInt8[np.ndarray, "S S 3"]:
    through_green = bool(rng.random() < 0.5)
    bend = rng.uniform(-12, 12)
    hue = hue_of(scene.warmth, through_green=through_green) + bend
    sky = shades(hue, scene.saturation)
    ground = shades(hue + rng.uniform(-20, 20), scene.saturation)
    x, y = _grid(size_px)
    lightness, is_ground = _landscape(x, y, rng)
    lightness = lightness - lightness.mean() + _lightness(scene)
    lightness = lightness + _MOST_PATTERN * scene.texture * _pattern(x, y, rng)
    index = np.clip(lightness * (NUM_LIGHTNESS - 1) + 0.5, 0, NUM_LIGHTNESS - 1).astype(np.uint8)
    return np.asarray(np.where(is_ground[..., None], ground.table[index], sky.table[index]))


def _grid(size_px: int) -> tuple[Field, Field]:
    """Coordinates of pixel centres, 0 to 1."""
    places = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    x, y = np.meshgrid(places, places)
    return x, y


def _landscape(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Mask]:
    """Lightness of sky, disc and two ranges of hills; and where the ground is."""
    soft = x.shape[0] / 1.5
    horizon = rng.uniform(0.62, 0.78)
    lightness = 0.14 * (y - 0.5)
    center, radius = (rng.uniform(0.15, 0.85), rng.uniform(0.12, 0.3)), rng.uniform(0.07, 0.13)
    disc = radius - np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2)
    lightness = lightness + 0.05 * np.clip(disc * soft + 0.5, 0, 1)
    is_ground = np.zeros(x.shape, dtype=bool)
    for depth, darker in ((0.0, 0.07), (0.12, 0.06)):
        waves = rng.uniform(0.5, 1.6, 2), rng.uniform(0, 2 * np.pi, 2)
        edge = horizon + depth + 0.05 * np.sin(2 * np.pi * waves[0][0] * x[0] + waves[1][0])
        edge += 0.02 * np.sin(4 * np.pi * waves[0][1] * x[0] + waves[1][1])
        cover = np.clip((y - edge) * soft + 0.5, 0, 1)
        lightness = lightness - darker * cover
        is_ground |= cover > 0.5
    return lightness, is_ground


def _pattern(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """A regular or blotchy pattern over all, -1 to 1 and about 0 in the mean."""
    waves = 2 * np.pi * rng.uniform(8, 13)
    angle = rng.uniform(0, np.pi)
    u = waves * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi)
    v = waves * (y * np.cos(angle) - x * np.sin(angle)) + rng.uniform(0, 2 * np.pi)
    return _PATTERNS[rng.integers(len(_PATTERNS))](u, v)


def _stripes(u: Field, v: Field) -> Field:
    return _steep(np.sin(u))


def _waves(u: Field, v: Field) -> Field:
    return _steep(np.sin(u + 1.3 * np.sin(v / 2)))


def _dots(u: Field, v: Field) -> Field:
    # Dots are fewer than gaps: shift the mean back to about 0.
    return np.asarray((_steep(np.sin(u) + np.sin(v) - 0.8) + 0.45) / 1.15)


def _marble(u: Field, v: Field) -> Field:
    return _steep(
        np.sin(0.8 * u + 1.7 * np.sin(0.45 * v)) + np.sin(0.6 * v + 1.9 * np.sin(0.4 * u))
    )


def _checks(u: Field, v: Field) -> Field:
    return np.asarray(_steep(np.sin(u)) * _steep(np.sin(v)))


def _weave(u: Field, v: Field) -> Field:
    return np.asarray((_steep(np.sin(u)) + _steep(np.sin(v))) / 1.6)


def _steep(wave: Field) -> Field:
    """Flat tops and smooth flanks: looks printed, and is drawn without jagged edges."""
    return np.asarray(np.tanh(3 * wave))


_PATTERNS: tuple[Callable[[Field, Field], Field], ...] = (
    _stripes,
    _waves,
    _dots,
    _checks,
    _weave,
    _marble,
)


@dataclass(frozen=True)
class _Figure:
    x: float
    y: float
    tilt_deg: float


def _draw_figures(image: Image.Image, scene: Scene, rng: np.random.Generator) -> None:
    colours = _figure_colours(scene, rng)
    radius = (_SMALLEST + (_LARGEST - _SMALLEST) * scene.size) * _CROWD[scene.count]
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    draw = ImageDraw.Draw(image, "RGBA")
    for figure in _places(scene, radius, rng):
        tilt = np.deg2rad(figure.tilt_deg)
        cosine, sine = np.cos(tilt), np.sin(tilt)
        turn = np.array([[mirror * cosine, mirror * sine], [-sine, cosine]])
        place = np.array([figure.x, figure.y])
        for shape in SILHOUETTES[scene.subject]:
            points = (shape.points @ (radius * turn) + place) * image.width
            draw.polygon(points.ravel().tolist(), fill=colours[shape.part])


def _places(scene: Scene, radius: float, rng: np.random.Generator) -> list[_Figure]:
    """Rows of figures about the scene's height, from the back (top) to the front."""
    fitting = [rows for rows in _ROWS[scene.count] if 2 * radius * max(rows) <= 1]
    rows = fitting[rng.integers(len(fitting))]
    step = 1.95 * radius
    half = 1.06 * radius + step * (len(rows) - 1) / 2
    middle = 1 - half - scene.height * (1 - 2 * half)
    tilts = MAX_TILT_DEG[scene.subject]
    center = rng.uniform(-1, 1)
    figures = []
    for row, num_in_row in enumerate(rows):
        room = 1 - 2 * radius
        gap = min(room / max(num_in_row - 1, 1), radius * rng.uniform(2.1, 3.2))
        slack = (room - gap * (num_in_row - 1)) / 2
        left = 0.5 + slack * center * 0.8 - gap * (num_in_row - 1) / 2
        for column in range(num_in_row):
            jitter = rng.uniform(-0.1, 0.1, 2) * radius
            x = left + gap * column + jitter[0]
            y = middle + step * (row - (len(rows) - 1) / 2) + jitter[1]
            figures.append(_Figure(x, y, rng.uniform(-tilts, tilts)))
    return figures


def _figure_colours(scene: Scene, rng: np.random.Generator) -> dict[Part, tuple[int, ...]]:
    """Lighter or darker than the background by the scene's contrast, of the same warmth."""
    ground = _lightness(scene)
    step = _LEAST_CONTRAST + (_MOST_CONTRAST - _LEAST_CONTRAST) * scene.contrast
    up, down = ground + step <= 0.97, ground - step >= 0.15
    rises = bool(rng.random() < 0.5) if up == down else up
    body = ground + (step if rises else -step)
    through_green = bool(rng.random() < 0.5)
    own = shades(hue_of(scene.warmth, through_green=through_green), scene.saturation)
    other = shades(hue_of(scene.warmth, through_green=not through_green), scene.saturation)
    detail = 0.05 + 0.05 * scene.contrast
    # Nothing can be seen that is darker still than a dark body.
    shade = body - detail if body > 0.3 else body + 0.7 * detail
    return {
        "shadow": (*own.at(ground - 0.12), 90),
        "body": own.at(body),
        "shade": own.at(shade),
        "light": own.at(body + (detail if body > 0.3 else 1.6 * detail)),
        "accent": other.at(body + (-1.6 if rises else 2.0) * detail),
        "hole": _hole(own, ground, body),
    }


def _hole(own: Shades, ground: float, body: float) -> tuple[int, ...]:
    return own.at(ground + 0.15 * (body - ground))
