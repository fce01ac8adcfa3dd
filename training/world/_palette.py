"""Colours of the synthetic world: from lightness, saturation and warmth to sRGB.

Colours are mixed in OKLCH (B. Ottosson, "A perceptual color space for image processing", 2020),
where lightness, chroma and hue can be moved apart; so that a taste for one is no taste for another.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

NUM_LIGHTNESS = 256
WARM_POLE_DEG = 55
MAX_CHROMA = 0.16
# Below this share of the chroma the hue, and with it warmth, could no longer be told.
_LEAST_SATURATION = 0.2
_GAMUT_STEPS = 10

_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True, eq=False)
class Shades:
    """One hue and saturation at every lightness.

    Attributes:
        table: sRGB by lightness 0 (black) to 255 (white).
    """

    table: UInt8[np.ndarray, "256 3"]

    def at(self, lightness: float) -> tuple[int, int, int]:
        """The colour at a lightness, clipped to [0, 1]."""
        row = self.table[round(min(max(lightness, 0.0), 1.0) * (NUM_LIGHTNESS - 1))]
        return int(row[0]), int(row[1]), int(row[2])


def hue_of(warmth: float, *, through_green: bool) -> float:
    """Hue in degrees: orange when hot, azure when cold, and between them green or purple.

    Args:
        warmth: 0 to 1.
        through_green: which half of the colour circle; a nuisance, both are equally warm.
    """
    distance = 180.0 * (1.0 - warmth)
    return (WARM_POLE_DEG + (distance if through_green else -distance)) % 360.0


def shades(hue_deg: float, saturation: float) -> Shades:
    """All lightnesses of a hue; saturation 0 to 1 is a share of what sRGB can show, with a cap."""
    share = _LEAST_SATURATION + (1 - _LEAST_SATURATION) * saturation
    hue = round(hue_deg) % 360
    rgb = _linear_rgb(_most_chroma(hue) * share, hue)
    return Shades((_gamma(rgb) * 255 + 0.5).astype(np.uint8))


@cache
def _most_chroma(hue_deg: int) -> Float[np.ndarray, "256"]:
    """The largest chroma inside sRGB at each lightness, at most MAX_CHROMA, by bisection."""
    low, high = np.zeros(NUM_LIGHTNESS), np.full(NUM_LIGHTNESS, MAX_CHROMA)
    for _ in range(_GAMUT_STEPS):
        middle = (low + high) / 2
        rgb = _linear_rgb(middle, hue_deg)
        inside = ((rgb >= -1e-4) & (rgb <= 1 + 1e-4)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _linear_rgb(chroma: Float[np.ndarray, "256"], hue_deg: int) -> Float[np.ndarray, "256 3"]:
    angle = np.deg2rad(hue_deg)
    lightness = np.linspace(0, 1, NUM_LIGHTNESS)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    return np.asarray((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T)


def _gamma(linear: Float[np.ndarray, "256 3"]) -> Float[np.ndarray, "256 3"]:
    """IEC 61966-2-1."""
    clipped = np.clip(linear, 0, 1)
    curve = 1.055 * clipped ** (1 / 2.4) - 0.055
    return np.asarray(np.where(clipped <= 0.0031308, 12.92 * clipped, curve))
