"""Pairing one person's images, over many sizes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.importers._rating_pairing import MAX_PASSED_OVER, pair_at_random, pair_within_prompts
from storage.importers._rating_table import RatedItem

START = datetime(2024, 1, 1, tzinfo=UTC)


def items(side, prompts):
    """An image of each prompt in turn, rated by its place."""
    return [
        RatedItem(
            image_id=f"{side}{place}",
            prompt_id=f"p{prompt}",
            prompt=f"prompt {prompt}",
            rating=3 + place / 1000,
            num_rows=1 + place % 2,
            rated_at=START + timedelta(minutes=(place * 7) % 11),
            path=f"{side}{place}.png",
            reason=None,
            detail=None,
        )
        for place, prompt in enumerate(prompts)
    ]


PROMPTS = st.lists(st.integers(0, 3), max_size=30)
PAIRINGS = [
    pair_within_prompts,
    lambda user_id, liked, disliked: pair_at_random(user_id, liked, disliked, seed=3),
]


@pytest.mark.parametrize("pair", PAIRINGS, ids=["within prompts", "at random"])
@given(PROMPTS, PROMPTS)
def test_every_image_is_kept_and_every_row_counted_once(pair, liked_prompts, disliked_prompts):
    liked, disliked = items("l", liked_prompts), items("d", disliked_prompts)

    drafts = pair("ann", liked, disliked)

    likes = [draft.liked for draft in drafts if draft.liked is not None]
    passed_over = {path for draft in drafts for path in draft.passed_over}
    assert sorted(map(str, likes)) == sorted(str(item.path) for item in liked)
    assert {str(path) for path in passed_over} == {item.path for item in disliked}
    assert sum(draft.num_rows for draft in drafts) == sum(
        item.num_rows for item in liked + disliked
    )
    times = [draft.chosen_at for draft in drafts]
    assert times == sorted(times)
    reversed_drafts = pair("ann", liked[::-1], disliked[::-1])
    assert [(draft.liked, draft.passed_over) for draft in reversed_drafts] == [
        (draft.liked, draft.passed_over) for draft in drafts
    ]


@given(PROMPTS, PROMPTS)
def test_within_prompts_all_of_a_choice_are_of_its_prompt(liked_prompts, disliked_prompts):
    liked, disliked = items("l", liked_prompts), items("d", disliked_prompts)
    prompt_of = {item.path: item.prompt for item in liked + disliked}

    for draft in pair_within_prompts("ann", liked, disliked):
        named = [*draft.passed_over, *filter(None, [draft.liked])]
        assert {prompt_of[str(path)] for path in named} == {draft.prompt}
        assert len(set(draft.passed_over)) == len(draft.passed_over) <= MAX_PASSED_OVER
        num_partners = disliked_prompts.count(int(draft.prompt.split()[1]))
        if draft.liked is not None:
            assert len(draft.passed_over) == min(MAX_PASSED_OVER, num_partners)


def test_the_draw_is_the_persons_own():
    liked, disliked = items("l", range(20)), items("d", range(20))

    drawn = {
        (user_id, seed): [
            (draft.liked, draft.passed_over)
            for draft in pair_at_random(user_id, liked, disliked, seed=seed)
        ]
        for user_id in ("ann", "bob")
        for seed in (0, 1)
    }

    assert len({tuple(pairs) for pairs in drawn.values()}) == 4
