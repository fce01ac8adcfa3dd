"""What an image of the synthetic world shows, in numbers and in words.

A scene has content (what, how many, how large, where), which prompts may fix, and surface (colours,
background, contrast), which they never mention. Nothing here draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

import numpy as np
from jaxtyping import Float

Subject = Literal["flower", "tree", "fish", "bird", "house", "boat", "rocket", "car"]
SUBJECTS = cast(tuple[Subject, ...], get_args(Subject))
NATURE: frozenset[Subject] = frozenset({"flower", "tree", "fish", "bird"})
MAX_COUNT = 5
NUM_LEVELS = 5

_T = TypeVar("_T")

ATTRIBUTES = (
    "warmth",
    "brightness",
    "saturation",
    "texture",
    "contrast",
    "nature",
    "count",
    "size",
    "height",
)

_PROMPT_SUBJECT_SHARE = 0.6
_PROMPT_OTHER_SHARE = 0.4
_NUM_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Scene:
    """One image before it is drawn.

    Attributes:
        subject: what it shows.
        count: how many of them, 1 to 5.
        size: how large each is, 0 tiny to 1 huge.
        height: where they stand, 0 at the bottom to 1 at the top.
        warmth: hue, 0 cold (blue) to 1 hot (orange).
        brightness: of the background, 0 to 1.
        saturation: 0 nearly grey to 1 vivid.
        texture: of the background, 0 smooth to 1 strongly patterned.
        contrast: figure against background, 0 to 1.
        seed: decides all that nobody has a taste for: exact places, hues, kind of pattern, wording.
    """

    subject: Subject
    count: int
    size: float
    height: float
    warmth: float
    brightness: float
    saturation: float
    texture: float
    contrast: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subject not in SUBJECTS:
            raise ValueError(f"subject must be one of {SUBJECTS}, got {self.subject!r}")
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count must be 1 to {MAX_COUNT}, got {self.count}")
        for name in (*_CONTINUOUS_CONTENT, *_SURFACE):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")


_CONTINUOUS_CONTENT = ("size", "height")
_SURFACE = ("warmth", "brightness", "saturation", "texture", "contrast")


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """What a prompt fixes of a scene; None is left free.

    Attributes:
        subject: what is shown.
        count: how many, 1 to 5.
        size: level 0 (tiny) to 4 (huge).
        height: level 0 (very bottom) to 4 (very top).
        wording: chooses among ways to say the same; at least 0.
    """

    subject: Subject | None = None
    count: int | None = None
    size: int | None = None
    height: int | None = None
    wording: int = 0

    def __post_init__(self) -> None:
        if (self.subject, self.count, self.size, self.height) == (None, None, None, None):
            raise ValueError("a prompt must fix something: give subject, count, size or height")


def attributes(scene: Scene) -> Float[np.ndarray, "9"]:
    """What tastes weigh, in the order of `ATTRIBUTES`, each in [-1, 1], float32.

    Nature is +1 or -1, counts 1 to 5 lie evenly, the others are 2·value − 1.
    """
    values = [2 * getattr(scene, name) - 1 for name in _SURFACE]
    values.append(1.0 if scene.subject in NATURE else -1.0)
    values.append(2 * (scene.count - 1) / (MAX_COUNT - 1) - 1)
    values += [2 * getattr(scene, name) - 1 for name in _CONTINUOUS_CONTENT]
    return np.array(values, dtype=np.float32)


def sample_prompt(rng: np.random.Generator) -> PromptSpec:
    """A random prompt: it names the subject in 60 % of cases and fixes at least one thing."""
    names_subject = rng.random() < _PROMPT_SUBJECT_SHARE
    fixed = rng.random(3) < _PROMPT_OTHER_SHARE
    if not names_subject and not fixed.any():
        fixed[rng.integers(3)] = True
    count, size, height = (
        int(rng.integers(limit)) if is_fixed else None
        for is_fixed, limit in zip(fixed, (MAX_COUNT, NUM_LEVELS, NUM_LEVELS), strict=True)
    )
    return PromptSpec(
        subject=SUBJECTS[rng.integers(len(SUBJECTS))] if names_subject else None,
        count=None if count is None else count + 1,
        size=size,
        height=height,
        wording=int(rng.integers(_NUM_SEEDS)),
    )


def sample_scene(prompt: PromptSpec, rng: np.random.Generator) -> Scene:
    """A scene that the prompt describes; whatever it leaves open is uniform and independent."""
    return Scene(
        subject=prompt.subject or SUBJECTS[rng.integers(len(SUBJECTS))],
        count=prompt.count or int(rng.integers(1, MAX_COUNT + 1)),
        size=_within_level(prompt.size, rng),
        height=_within_level(prompt.height, rng),
        **{name: float(rng.random()) for name in _SURFACE},
        seed=int(rng.integers(_NUM_SEEDS)),
    )


def prompt_text(prompt: PromptSpec) -> str:
    """The prompt in words: "three small fish near the top", "something low in the picture"."""
    rng = np.random.default_rng([prompt.wording, 1])
    what = _noun_phrase(prompt.subject, prompt.count, prompt.size, rng)
    if prompt.height is None:
        return what
    return f"{what} {_pick(_HEIGHTS[prompt.height], rng)}"


def caption(scene: Scene) -> str:
    """Content and surface in words, about five levels each; the same scene, the same words."""
    rng = np.random.default_rng([scene.seed, 2])
    what = _noun_phrase(scene.subject, scene.count, level(scene.size), rng)
    where = _pick(_HEIGHTS[level(scene.height)], rng)
    tones = [_pick(words[level(getattr(scene, name))], rng) for name, words in _COLOURS]
    background = _pick(_TEXTURES[level(scene.texture)], rng)
    contrast = _pick(_CONTRASTS[level(scene.contrast)], rng)
    colours = f"{' '.join(tones)} {_pick(('colours', 'tones'), rng)}"
    surface = [colours, f"{background} background", f"{contrast} contrast"]
    if rng.random() < 0.25:
        return ", ".join([*surface, f"{what} {where}"])
    return ", ".join([f"{what} {where}", *surface])


def level(value: float) -> int:
    """Which fifth of [0, 1] a value lies in: 0 to 4."""
    return min(int(value * NUM_LEVELS), NUM_LEVELS - 1)


def _within_level(fixed: int | None, rng: np.random.Generator) -> float:
    value = float(rng.random())
    return value if fixed is None else (fixed + value) / NUM_LEVELS


def _noun_phrase(
    subject: Subject | None, count: int | None, size: int | None, rng: np.random.Generator
) -> str:
    adjective = "" if size is None else _pick(_SIZES[size], rng)
    if subject is None and count is None:
        return f"{_pick(('something', 'anything'), rng)} {adjective}".rstrip()
    singular, plural = _NOUNS[subject] if subject else _pick(_ANY_NOUNS, rng)
    noun = plural if count is not None and count > 1 else singular
    phrase = f"{adjective} {noun}".lstrip()
    # No article and no number, as in a list of tags: the number is then left open.
    if count is None:
        return phrase
    return f"{_number(count, phrase, rng)} {phrase}"


def _number(count: int, phrase: str, rng: np.random.Generator) -> str:
    if count > 1:
        return ("two", "three", "four", "five")[count - 2]
    article = "an" if phrase[0] in "aeiou" else "a"
    return _pick((article, "one", "a single"), rng)


def _pick(words: Sequence[_T], rng: np.random.Generator) -> _T:
    return words[int(rng.integers(len(words)))]


_Words = tuple[tuple[str, ...], ...]

_NOUNS: dict[Subject, tuple[str, str]] = {
    "flower": ("flower", "flowers"),
    "tree": ("tree", "trees"),
    "fish": ("fish", "fish"),
    "bird": ("bird", "birds"),
    "house": ("house", "houses"),
    "boat": ("boat", "boats"),
    "rocket": ("rocket", "rockets"),
    "car": ("car", "cars"),
}
_ANY_NOUNS = (("thing", "things"), ("object", "objects"), ("figure", "figures"))
_SIZES: _Words = (
    ("tiny", "very small"),
    ("small", "little"),
    ("medium-sized", "middle-sized"),
    ("large", "big"),
    ("huge", "very large"),
)
_HEIGHTS: _Words = (
    ("at the very bottom", "at the bottom edge"),
    ("low in the picture", "near the bottom"),
    ("in the middle", "halfway up"),
    ("high in the picture", "near the top"),
    ("at the very top", "at the top edge"),
)
_COLOURS: tuple[tuple[str, _Words], ...] = (
    ("brightness", (("very dark",), ("dark",), ("half-bright",), ("bright",), ("very bright",))),
    ("warmth", (("cold", "icy"), ("cool",), ("mild",), ("warm",), ("hot", "fiery"))),
    ("saturation", (("greyish",), ("muted", "dull"), ("natural",), ("rich",), ("vivid",))),
)
_TEXTURES: _Words = (
    ("smooth", "even"),
    ("almost smooth", "faintly patterned"),
    ("patterned",),
    ("rough", "clearly patterned"),
    ("very rough", "strongly patterned"),
)
_CONTRASTS: _Words = (("faint",), ("soft",), ("medium",), ("strong",), ("stark", "very strong"))
