"""The demonstration's cast: three users, candidates, and the users' true tastes.

There are two sources: the synthetic world, where each taste is known, and a folder of real ratings,
where a user's own ratings of the candidates are withheld from the model.
"""

import csv
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.counts import counted
from recsys.images.decode import inspect
from recsys.ranking.candidates import Candidate
from storage.histories import HistoryStore
from storage.importers.ratings import import_ratings
from training.world.creation import create_world
from training.world.gallery import WorldProgress
from training.world.render import encode_jpeg, render
from training.world.scenes import attributes, prompt_text, sample_prompt, sample_scene
from training.world.sheet import describe_taste
from training.world.truth import read_truth

NUM_PEOPLE = 3
NUM_CANDIDATES = 8
NUM_USERS = 150
"""Of the synthetic world: enough for neighbours and clusters, and done within a minute."""

WORLD_SEED = 20_000
"""A world that no shipped model was trained on."""

_FEWEST_RATINGS = 60
_LIKED_MIN, _DISLIKED_MAX = 4.0, 2.0
_NUM_HELD_OUT_PROMPTS = 2


@dataclass(frozen=True)
class Person:
    """A user to rank for.

    Attributes:
        user_id: in storage.
        description: in words.
        worth: how much this user truly likes each candidate, by its id; any unit.
    """

    user_id: str
    description: str
    worth: Mapping[str, float]


@dataclass(frozen=True)
class Cast:
    """The demonstration's people and the images that all of them are shown.

    Attributes:
        people: three, of different taste.
        candidates: the images.
        general: mean worth of each candidate over all users in storage, by its id.
    """

    people: tuple[Person, ...]
    candidates: tuple[Candidate, ...]
    general: Mapping[str, float]


def agreement(order: Sequence[str], worth: Mapping[str, float]) -> float:
    """Share of pairs of candidates that an order puts as their worth does; ties are left out.

    0.5 is what a random order gets. NaN when all are worth the same.
    """
    right = [worth[a] > worth[b] for a, b in combinations(order, 2) if worth[a] != worth[b]]
    return float(np.mean(right)) if right else float("nan")


def synthetic_cast(store: HistoryStore, folder: Path, *, progress: WorldProgress) -> Cast:
    """Create a small world in storage; return three of its users and new images of one prompt."""
    truth_path = folder / "truth.npz"
    create_world(
        store,
        num_users=NUM_USERS,
        seed=WORLD_SEED,
        truth_path=truth_path,
        num_choices=10,
        num_prompts=100,
        progress=progress,
    )
    truth = read_truth(truth_path)
    rng = np.random.default_rng(WORLD_SEED)
    prompt = next(p for p in iter(partial(sample_prompt, rng), None) if p.subject is None)
    scenes = [sample_scene(prompt, rng) for _ in range(NUM_CANDIDATES)]
    candidates = tuple(
        Candidate(id=f"image-{place}", prompt=prompt_text(prompt), image=encode_jpeg(render(scene)))
        for place, scene in enumerate(scenes, start=1)
    )
    shown = np.stack([attributes(scene) for scene in scenes])

    def worth(taste: npt.NDArray[np.floating]) -> dict[str, float]:
        return dict(zip((c.id for c in candidates), (shown @ taste).tolist(), strict=True))

    people = tuple(
        Person(truth.user_ids[index], describe_taste(taste), worth(taste))
        for index in most_unlike(truth.tastes)
        for taste in [truth.tastes[index]]
    )
    return Cast(people, candidates, worth(truth.tastes.mean(axis=0)))


def rated_cast(data: Path, store: HistoryStore, folder: Path) -> Cast:
    """Import real ratings of all prompts but two; return three raters and the images of those two.

    Args:
        data: folder with items.csv, ratings.csv and images/.
        store: receives the choices.
        folder: for the copy without the held-out prompts.

    Raises:
        ValueError: if fewer than three users rated enough images.
    """
    rows = _rows(data / "items.csv", needs=("image_id", "prompt"))
    # Without a prompt_id, images of one prompt are those with the same text.
    items = {row["image_id"]: {"prompt_id": row["prompt"], **row} for row in rows}
    rating_rows = _rows(data / "ratings.csv", needs=("user_id", "image_id", "rating_1to5"))
    question = "appeal" if rating_rows and "question" in rating_rows[0] else None
    ratings = _mean_ratings(rating_rows)
    prompts = sorted({item["prompt_id"] for item in items.values()})
    held_out = set(np.random.default_rng(WORLD_SEED).permutation(prompts)[:_NUM_HELD_OUT_PROMPTS])
    known = [image for image, item in items.items() if item["prompt_id"] not in held_out]
    asked = [image for image, item in items.items() if item["prompt_id"] in held_out]
    copy = _without(held_out, data, items, folder / "ratings")
    import_ratings(
        copy,
        store,
        inspect=inspect,
        liked_min=_LIKED_MIN,
        disliked_max=_DISLIKED_MAX,
        question=question,
    )
    raters = [
        rater
        for rater, given in ratings.items()
        if len(given) >= _FEWEST_RATINGS and all(image in given for image in asked)
    ]
    if len(raters) < NUM_PEOPLE:
        raise ValueError(
            f"{data} must hold {NUM_PEOPLE} users with enough ratings, got {len(raters)}"
        )
    centred = np.array([_deviations(ratings, rater, known) for rater in raters])
    candidates = tuple(
        Candidate(image, items[image]["prompt"], _image(data, image).read_bytes())
        for image in asked
    )
    people = tuple(
        Person(
            raters[index],
            f"rated {counted(len(ratings[raters[index]]), 'image')}",
            {image: ratings[raters[index]][image] for image in asked},
        )
        for index in most_unlike(centred)
    )
    general = {
        image: float(np.mean([given[image] for given in ratings.values() if image in given]))
        for image in asked
    }
    return Cast(people, candidates, general)


def most_unlike(tastes: npt.NDArray[np.floating]) -> list[int]:
    """Greedily choose users whose tastes point in the most different directions.

    Args:
        tastes: shape (P, A), P at least 3.
    """
    unit = tastes / np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-9)
    cosine = unit @ unit.T
    chosen = [int(index) for index in np.unravel_index(np.argmin(cosine), cosine.shape)]
    while len(chosen) < NUM_PEOPLE:
        nearest = cosine[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return chosen


def _rows(path: Path, *, needs: Sequence[str] = ()) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(needs) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} must have the columns {', '.join(sorted(missing))}: add them")
        return list(reader)


def _mean_ratings(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Return the appeal by rater and image; of several ratings, the mean."""
    given: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get("question", "appeal") == "appeal":
            given[row["user_id"]][row["image_id"]].append(float(row["rating_1to5"]))
    return {
        rater: {image: float(np.mean(values)) for image, values in images.items()}
        for rater, images in given.items()
    }


def _deviations(
    ratings: Mapping[str, Mapping[str, float]], rater: str, images: Sequence[str]
) -> list[float]:
    """Return a rater's difference from the mean of all, by image; 0 where not rated."""
    own = ratings[rater]
    everybody = {
        image: np.mean([given[image] for given in ratings.values() if image in given] or [0.0])
        for image in images
    }
    return [float(own[image] - everybody[image]) if image in own else 0.0 for image in images]


def _without(
    held_out: set[str], data: Path, items: Mapping[str, Mapping[str, str]], copy: Path
) -> Path:
    """Copy the ratings without the held-out prompts; return the copy's folder."""
    (copy / "images").mkdir(parents=True)
    kept = {image for image, item in items.items() if item["prompt_id"] not in held_out}
    for image in kept:
        source = _image(data, image)
        shutil.copy(source, copy / "images" / source.name)
    for name in ("items.csv", "ratings.csv"):
        rows = [row for row in _rows(data / name) if row["image_id"] in kept]
        with (copy / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return copy


def _image(data: Path, image_id: str) -> Path:
    endings = (".jpg", ".jpeg", ".png", ".webp")
    paths = [data / "images" / f"{image_id}{ending}" for ending in endings]
    return next((path for path in paths if path.exists()), paths[0])
