"""The subjects of the synthetic world as flat shapes in a unit box.

Each subject is a list of polygons, painted in order, in coordinates about -1 to 1 with y downwards.
A shape names the part it plays; the renderer gives parts their colours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from training.world.scenes import Subject

Part = Literal["shadow", "body", "shade", "light", "accent", "hole"]
"""Shade and light are those of the body, an accent has another hue, a hole shows the background."""

Points = Float[np.ndarray, "P 2"]


@dataclass(frozen=True, eq=False)
class Shape:
    """One polygon: the part it plays and its points, shape (P, 2)."""

    part: Part
    points: Points


def _polygon(part: Part, *points: tuple[float, float]) -> Shape:
    return Shape(part, np.array(points, dtype=np.float64))


def _ellipse(part: Part, center: tuple[float, float], radius: tuple[float, float]) -> Shape:
    return _arc(part, center, radius, (0, 360))


def _arc(
    part: Part,
    center: tuple[float, float],
    radius: tuple[float, float],
    degrees: tuple[int, int],
    *,
    turn_deg: int = 0,
) -> Shape:
    """A closed piece of an ellipse (0° right, 90° down), turned about its centre."""
    angles = np.deg2rad(np.linspace(*degrees, 28))
    curve = np.stack([radius[0] * np.cos(angles), radius[1] * np.sin(angles)], axis=1)
    turn = np.deg2rad(turn_deg)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return Shape(part, curve @ rotation + np.array(center))


def _box(part: Part, left: float, top: float, right: float, bottom: float) -> Shape:
    return _polygon(part, (left, top), (right, top), (right, bottom), (left, bottom))


def _flower() -> list[Shape]:
    petals = []
    for turn in range(0, 360, 60):
        angle = np.deg2rad(turn + 30)
        center = (0.43 * float(np.cos(angle)), -0.38 + 0.43 * float(np.sin(angle)))
        petals.append(_arc("body", center, (0.36, 0.25), (0, 360), turn_deg=turn + 30))
    return [
        _ellipse("shadow", (0.0, 1.0), (0.5, 0.09)),
        _polygon("shade", (-0.06, -0.1), (0.06, -0.1), (0.05, 1.0), (-0.05, 1.0)),
        _arc("shade", (0.3, 0.62), (0.34, 0.13), (0, 360), turn_deg=-35),
        _arc("shade", (-0.27, 0.74), (0.3, 0.12), (0, 360), turn_deg=215),
        *petals,
        _ellipse("accent", (0.0, -0.38), (0.25, 0.25)),
        _ellipse("light", (-0.04, -0.43), (0.12, 0.12)),
    ]


def _tree() -> list[Shape]:
    return [
        _ellipse("shadow", (0.0, 0.98), (0.6, 0.1)),
        _polygon("shade", (-0.13, 0.1), (0.13, 0.1), (0.2, 1.0), (-0.2, 1.0)),
        _ellipse("body", (-0.42, 0.12), (0.46, 0.42)),
        _ellipse("body", (0.42, 0.12), (0.46, 0.42)),
        _ellipse("body", (0.0, -0.4), (0.6, 0.6)),
        _ellipse("body", (0.0, 0.1), (0.5, 0.4)),
        _ellipse("light", (-0.2, -0.52), (0.28, 0.24)),
        _ellipse("light", (0.42, 0.02), (0.18, 0.15)),
        _ellipse("accent", (0.2, -0.2), (0.1, 0.1)),
        _ellipse("accent", (-0.42, 0.14), (0.1, 0.1)),
        _ellipse("accent", (0.16, 0.26), (0.1, 0.1)),
    ]


def _fish() -> list[Shape]:
    return [
        _polygon("shade", (-0.5, 0.0), (-1.05, -0.52), (-0.9, 0.0), (-1.05, 0.52)),
        _polygon("shade", (-0.35, -0.3), (0.05, -0.78), (0.4, -0.3)),
        _polygon("shade", (-0.15, 0.35), (-0.05, 0.7), (0.25, 0.35)),
        _ellipse("body", (0.12, 0.0), (0.84, 0.5)),
        _arc("light", (0.12, 0.0), (0.84, 0.5), (20, 160)),
        _polygon("accent", (0.1, -0.49), (0.28, -0.48), (0.22, 0.0), (0.28, 0.48), (0.1, 0.49)),
        _polygon("accent", (-0.3, -0.43), (-0.16, -0.46), (-0.2, 0.0), (-0.16, 0.46), (-0.3, 0.43)),
        _ellipse("hole", (0.6, -0.12), (0.13, 0.13)),
        _ellipse("body", (0.63, -0.12), (0.06, 0.06)),
    ]


def _bird() -> list[Shape]:
    return [
        _polygon("shade", (-0.4, 0.1), (-1.1, -0.12), (-1.0, 0.12), (-1.12, 0.32), (-0.4, 0.42)),
        _arc("body", (0.0, 0.22), (0.72, 0.44), (0, 360), turn_deg=-12),
        _ellipse("body", (0.56, -0.18), (0.33, 0.33)),
        _polygon("accent", (0.84, -0.28), (1.2, -0.12), (0.84, -0.04)),
        _polygon("light", (0.3, 0.22), (0.1, -0.2), (-0.5, -0.95), (-0.62, -0.3), (-0.42, 0.2)),
        _polygon("shade", (0.3, 0.22), (-0.1, -0.05), (-0.62, -0.3), (-0.42, 0.2)),
        _ellipse("hole", (0.64, -0.25), (0.09, 0.09)),
    ]


def _house() -> list[Shape]:
    return [
        _ellipse("shadow", (0.0, 0.92), (1.0, 0.12)),
        _box("shade", 0.36, -0.85, 0.58, -0.2),
        _box("body", -0.72, -0.15, 0.72, 0.92),
        _polygon("shade", (-0.98, -0.08), (0.0, -0.95), (0.98, -0.08)),
        _ellipse("light", (0.0, -0.36), (0.15, 0.15)),
        _box("accent", -0.17, 0.3, 0.17, 0.92),
        _box("hole", -0.57, 0.12, -0.28, 0.44),
        _box("hole", 0.28, 0.12, 0.57, 0.44),
    ]


def _boat() -> list[Shape]:
    return [
        _ellipse("shadow", (0.0, 0.86), (1.1, 0.12)),
        _box("shade", -0.06, -1.0, 0.05, 0.4),
        _polygon("body", (0.1, -0.95), (0.85, 0.22), (0.1, 0.22)),
        _polygon("light", (-0.12, -0.75), (-0.12, 0.22), (-0.72, 0.22)),
        _polygon("body", (-1.0, 0.36), (1.05, 0.36), (0.66, 0.86), (-0.68, 0.86)),
        _polygon("accent", (-1.0, 0.36), (1.05, 0.36), (0.95, 0.5), (-0.9, 0.5)),
    ]


def _rocket() -> list[Shape]:
    return [
        _polygon("accent", (-0.2, 0.6), (0.0, 1.15), (0.2, 0.6)),
        _polygon("shade", (-0.32, 0.1), (-0.72, 0.55), (-0.68, 0.9), (-0.26, 0.62)),
        _polygon("shade", (0.32, 0.1), (0.72, 0.55), (0.68, 0.9), (0.26, 0.62)),
        _arc("body", (0.0, 0.64), (0.4, 1.7), (180, 360)),
        _polygon("light", (-0.2, -0.79), (0.0, -1.06), (0.2, -0.79)),
        _ellipse("shade", (0.0, -0.18), (0.23, 0.23)),
        _ellipse("hole", (0.0, -0.18), (0.16, 0.16)),
        _box("shade", -0.4, 0.5, 0.4, 0.64),
    ]


def _car() -> list[Shape]:
    return [
        _ellipse("shadow", (0.0, 0.68), (1.15, 0.1)),
        _polygon("shade", (-0.62, -0.02), (-0.4, -0.55), (0.3, -0.55), (0.62, -0.02)),
        _polygon("hole", (-0.46, -0.06), (-0.31, -0.42), (-0.06, -0.42), (-0.06, -0.06)),
        _polygon("hole", (0.06, -0.06), (0.06, -0.42), (0.22, -0.42), (0.43, -0.06)),
        _polygon(
            "body",
            (-1.02, 0.44),
            (-1.02, 0.02),
            (-0.9, -0.08),
            (0.72, -0.08),
            (0.98, 0.06),
            (1.06, 0.2),
            (1.06, 0.44),
        ),
        _box("accent", -1.02, 0.16, 1.05, 0.26),
        _ellipse("shade", (-0.55, 0.44), (0.27, 0.27)),
        _ellipse("shade", (0.57, 0.44), (0.27, 0.27)),
        _ellipse("hole", (-0.55, 0.44), (0.12, 0.12)),
        _ellipse("hole", (0.57, 0.44), (0.12, 0.12)),
    ]


SILHOUETTES: dict[Subject, list[Shape]] = {
    "flower": _flower(),
    "tree": _tree(),
    "fish": _fish(),
    "bird": _bird(),
    "house": _house(),
    "boat": _boat(),
    "rocket": _rocket(),
    "car": _car(),
}

MAX_TILT_DEG: dict[Subject, float] = {
    "flower": 6.0,
    "tree": 2.0,
    "fish": 12.0,
    "bird": 12.0,
    "house": 1.0,
    "boat": 6.0,
    "rocket": 18.0,
    "car": 3.0,
}
