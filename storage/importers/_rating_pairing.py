"""One person's liked and disliked images -> choices.

Within prompts, each liked image is one choice that passes over the disliked images of its prompt,
at most `MAX_PASSED_OVER`. They stand in turn: the first liked image begins with the most disliked
one, the second with the next, so that the first pairs of all choices differ. Across prompts, liked
and disliked images are paired at random, each used once, under the prompt of the liked one.

An image that finds no partner is a choice of its own, a like or a dislike alone: it is kept.

Blocked images are paired like the others. A choice that likes one is not stored, one that passes
it over is stored without it, as the takedown left those that were stored before.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from storage.importers._drafts import Draft
from storage.importers._rating_table import RatedItem

MAX_PASSED_OVER = 8
"""More would let the images of one choice grow with the ratings."""


def pair_within_prompts(
    user_id: str, liked: Sequence[RatedItem], disliked: Sequence[RatedItem]
) -> list[Draft]:
    """Pair images of the same prompt.

    Args:
        user_id: whose they are.
        liked: in any order; each with a path.
        disliked: likewise, none of them liked.

    Returns:
        Choices in the order of their moments; every image is in one at least. Ratings of blocked
        images are not among their rows.
    """
    liked_of: dict[str, list[RatedItem]] = defaultdict(list)
    disliked_of: dict[str, list[RatedItem]] = defaultdict(list)
    for item in sorted(liked, key=lambda item: (-item.rating, item.image_id)):
        liked_of[item.prompt_id].append(item)
    for item in sorted(disliked, key=lambda item: (item.rating, item.image_id)):
        disliked_of[item.prompt_id].append(item)
    pairings = []
    for prompt_id in sorted({*liked_of, *disliked_of}):
        pairings += _turns(liked_of[prompt_id], disliked_of[prompt_id])
    return _drafts(user_id, pairings)


def pair_at_random(
    user_id: str, liked: Sequence[RatedItem], disliked: Sequence[RatedItem], *, seed: int
) -> list[Draft]:
    """Pair each liked image with another disliked one, whatever their prompts.

    Args:
        user_id: whose they are; each person's pairs are drawn apart, so other people's ratings do
            not change them.
        liked: in any order; each with a path.
        disliked: likewise, none of them liked.
        seed: of the draw.

    Returns:
        As `pair_within_prompts`.
    """
    draw = random.Random(f"{seed} {user_id}")
    likes = sorted(liked, key=lambda item: item.image_id)
    dislikes = sorted(disliked, key=lambda item: item.image_id)
    draw.shuffle(likes)
    draw.shuffle(dislikes)
    num_pairs = min(len(likes), len(dislikes))
    pairings: list[_Pairing] = [
        (like, [dislike]) for like, dislike in zip(likes, dislikes, strict=False)
    ]
    pairings += [(like, []) for like in likes[num_pairs:]]
    pairings += [(None, [dislike]) for dislike in dislikes[num_pairs:]]
    return _drafts(user_id, pairings)


_Pairing = tuple[RatedItem | None, list[RatedItem]]


def _turns(liked: list[RatedItem], disliked: list[RatedItem]) -> list[_Pairing]:
    width = min(MAX_PASSED_OVER, len(disliked))
    pairings: list[_Pairing] = [
        (like, [disliked[(turn + step) % len(disliked)] for step in range(width)])
        for turn, like in enumerate(liked)
    ]
    num_used = len(liked) + width - 1 if liked else 0
    return pairings + [(None, [dislike]) for dislike in disliked[num_used:]]


def _drafts(user_id: str, pairings: list[_Pairing]) -> list[Draft]:
    counted: set[str] = set()
    drafts = []
    # Those that like a blocked image are not stored: a row that another has too counts there.
    for like, dislikes in sorted(pairings, key=lambda pairing: _likes_blocked(pairing[0])):
        items = dislikes if like is None else [like, *dislikes]
        fresh = [item for item in items if item.image_id not in counted]
        counted |= {item.image_id for item in fresh}
        drafts.append(
            Draft(
                where=f"user {user_id!r} image {items[0].image_id!r}",
                user_id=user_id,
                liked=None if like is None else _path(like),
                passed_over=tuple(_path(item) for item in dislikes),
                prompt=items[0].prompt,
                chosen_at=max(item.rated_at for item in items),
                num_rows=sum(item.num_rows for item in fresh if not item.is_blocked),
                shortens=True,
            )
        )
    return sorted(drafts, key=lambda draft: (draft.chosen_at, draft.where))


def _likes_blocked(like: RatedItem | None) -> bool:
    return like is not None and like.is_blocked


def _path(item: RatedItem) -> Path:
    assert item.path is not None
    return Path(item.path)
