"""A synthetic world: people of known tastes choose among images of known attributes.

Its choices enter storage as any import does; only true tastes and attributes go to a file of their
own, which evaluation reads. A world can be created again, resumed after an interruption, or
enlarged: a choice that is stored already is not stored twice.
"""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from storage.histories import HistoryStore
from storage.records import Choice, NewImages
from training.world.communities import Communities, draw_communities, draw_tastes
from training.world.gallery import Gallery, WorldProgress, draw_gallery
from training.world.scenes import ATTRIBUTES
from training.world.tastes import choose
from training.world.truth import DIGEST_BYTES, WorldTruth, write_truth

SOURCE = "world"
FEWEST_SHOWN, MOST_SHOWN = 2, 4
FIRST_CHOICE_AT = datetime(2026, 1, 1, tzinfo=UTC)
_LONGEST_PAUSE_S = 36 * 3600
_CHOICES_SINCE = 100
"""Longer histories begin earlier, so that none ends in the future, which storage refuses."""

_TASTE_STREAM, _PROMPT_STREAM, _CHOICE_STREAM = 22, 23, 24
_PEOPLE_A_TRANSACTION = 20
_FEWEST_PROMPTS, _MOST_PROMPTS = 100, 3000
IMAGES_A_PROMPT = 8
"""By default."""


@dataclass(frozen=True)
class WorldReport:
    """What `create_world` did.

    Attributes:
        num_users: people of this world, all with their choices stored.
        num_images: images rendered; those nobody was shown are not stored.
        num_stored: choices stored by this run.
        num_repeated: choices that had been stored before.
    """

    num_users: int
    num_images: int
    num_stored: int
    num_repeated: int


def create_world(
    store: HistoryStore,
    *,
    num_users: int,
    seed: int,
    truth_path: Path,
    communities_seed: int = 0,
    num_choices: int = 24,
    num_prompts: int | None = None,
    images_per_prompt: int = IMAGES_A_PROMPT,
    size_px: int = 128,
    progress: WorldProgress = lambda what, done, total: None,
) -> WorldReport:
    """Render images, draw people, store their choices, and write the truth to a file.

    A person sees 2 to 4 images of a prompt, likes one and passes over the others; no prompt comes
    twice to the same person. Worlds of different seeds share no image and nobody, but communities
    if they share `communities_seed`. The images are marked as shareable: none is a real person's.

    Args:
        store: receives choices and the images shown.
        num_users: people, at least 1; named "s<seed>-u00000" and up.
        seed: decides people, images and choices; at least 0.
        truth_path: of the truth's file; a world of the same communities there is added to.
        communities_seed: decides the communities.
        num_choices: of each person, at least 1.
        num_prompts: at least `num_choices`; None: as `default_num_prompts`.
        images_per_prompt: at least 4.
        size_px: width and height of the images.
        progress: called as images are rendered and choices are stored.

    Raises:
        ValueError: if a number is out of range, or `truth_path` holds other communities.
    """
    if num_prompts is None:
        num_prompts = default_num_prompts(num_users, num_choices)
    _check(num_users, num_choices, num_prompts, images_per_prompt)
    communities = draw_communities(seed=communities_seed)
    truth = _people(communities, num_users, seed)
    with tempfile.TemporaryFile() as file:
        gallery = draw_gallery(
            file,
            num_prompts=num_prompts,
            images_per_prompt=images_per_prompt,
            size_px=size_px,
            seed=seed,
            progress=progress,
        )
        # Before the first choice: whatever an interruption leaves in storage, its truth is known.
        write_truth(_with_images(truth, gallery), truth_path)
        return _let_choose(
            store, truth, gallery, seed=seed, num_choices=num_choices, progress=progress
        )


def default_num_prompts(num_users: int, num_choices: int) -> int:
    """Prompts of a world: twice the people, within 100 to 3000, and at least their choices."""
    return max(num_choices, min(max(2 * num_users, _FEWEST_PROMPTS), _MOST_PROMPTS))


def _check(num_users: int, num_choices: int, num_prompts: int, images_per_prompt: int) -> None:
    if num_users < 1 or num_choices < 1:
        raise ValueError(
            f"a world needs people and choices, got {num_users} users, {num_choices} choices"
        )
    if num_prompts < num_choices:
        raise ValueError(
            f"num_prompts must be at least num_choices ({num_choices}), got {num_prompts}: "
            "no prompt is shown twice to the same person"
        )
    if images_per_prompt < MOST_SHOWN:
        raise ValueError(
            f"images_per_prompt must be at least {MOST_SHOWN}, got {images_per_prompt}"
        )


def _people(communities: Communities, num_users: int, seed: int) -> WorldTruth:
    """People without images. Each has random numbers of their own: a larger world begins alike."""
    drawn = [
        draw_tastes(communities, 1, np.random.default_rng([seed, _TASTE_STREAM, person]))
        for person in range(num_users)
    ]
    return WorldTruth(
        communities=communities,
        user_ids=tuple(f"s{seed}-u{person:05d}" for person in range(num_users)),
        tastes=np.concatenate([tastes for tastes, _ in drawn]),
        memberships=np.concatenate([community for _, community in drawn]),
        digests=np.zeros((0, DIGEST_BYTES), dtype=np.uint8),
        attributes=np.zeros((0, len(ATTRIBUTES)), dtype=np.float32),
    )


def _with_images(people: WorldTruth, gallery: Gallery) -> WorldTruth:
    return WorldTruth(
        people.communities,
        people.user_ids,
        people.tastes,
        people.memberships,
        gallery.digests.reshape(-1, DIGEST_BYTES),
        gallery.attributes.reshape(-1, len(ATTRIBUTES)),
    )


def _let_choose(
    store: HistoryStore,
    people: WorldTruth,
    gallery: Gallery,
    *,
    seed: int,
    num_choices: int,
    progress: WorldProgress,
) -> WorldReport:
    num_stored = num_repeated = 0
    known: set[str] = set()  # images that storage has for certain
    num_users = len(people.user_ids)
    for first in range(0, num_users, _PEOPLE_A_TRANSACTION):
        chunk = range(first, min(first + _PEOPLE_A_TRANSACTION, num_users))
        items = [
            item
            for person in chunk
            for item in _choices_of(
                people, person, gallery, known, seed=seed, num_choices=num_choices
            )
        ]
        for appended, (_, images) in zip(
            store.append_many(items, shareable=True), items, strict=True
        ):
            # A repeat is answered with what stood there, which may have other images.
            if not appended.repeated:
                known.update(images)
            num_repeated += appended.repeated
            num_stored += not appended.repeated
        progress("people", chunk.stop, num_users)
    return WorldReport(num_users, gallery.digests[..., 0].size, num_stored, num_repeated)


def _choices_of(
    people: WorldTruth,
    person: int,
    gallery: Gallery,
    known: set[str],
    *,
    seed: int,
    num_choices: int,
) -> list[tuple[Choice, NewImages]]:
    """All choices of one person, oldest first, each with the images that storage may not have."""
    order = np.random.default_rng([seed, _PROMPT_STREAM, person]).permutation(len(gallery.prompts))
    num_earlier = max(0, num_choices - _CHOICES_SINCE)
    chosen_at = FIRST_CHOICE_AT - timedelta(seconds=num_earlier * _LONGEST_PAUSE_S)
    items: list[tuple[Choice, NewImages]] = []
    for number, prompt in enumerate(order[:num_choices].tolist()):
        rng = np.random.default_rng([seed, _CHOICE_STREAM, person, number])
        chosen_at += timedelta(seconds=int(rng.integers(60, _LONGEST_PAUSE_S)))
        num_shown = int(rng.integers(FEWEST_SHOWN, MOST_SHOWN + 1))
        shown = rng.permutation(gallery.digests.shape[1])[:num_shown].tolist()
        best = choose(
            people.tastes[person],
            gallery.attributes[prompt, shown].astype(np.float64),
            rng,
            temperature=people.communities.temperature,
        )
        names = [gallery.sha256(prompt, image) for image in shown]
        liked = names.pop(best)
        choice = Choice(
            user_id=people.user_ids[person],
            liked=liked,
            passed_over=tuple(names),
            prompt=gallery.prompts[prompt],
            chosen_at=chosen_at,
            source=SOURCE,
            request_id=f"world-{number:06d}",
        )
        images = {
            gallery.sha256(prompt, image): gallery.read(prompt, image)
            for image in shown
            if gallery.sha256(prompt, image) not in known
        }
        items.append((choice, images))
    return items
