"""Probes among what training users were shown; halves of a history that share no choice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.history import Pair
from training.data.samples import PairTable, halves
from training.fitting.probe_choice import choose_probes
from training.predictors.predictor import CandidateRow

pairs = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda pair: pair[0] != pair[1]),
    max_size=20,
).map(lambda rows: [Pair(liked, disliked, f"p{liked % 4}") for liked, disliked in rows])


@given(history=pairs, seed=st.integers(0, 5), most=st.integers(2, 8))
def test_halves_are_equal_share_nothing_and_are_of_the_history(history, seed, most) -> None:
    halved = halves(history, np.random.default_rng(seed), num_references=most)
    num_liked = len({pair.liked for pair in history})
    if halved is None:
        assert num_liked < 16
        return
    one, other = halved
    assert 2 <= len(one) == len(other) <= most
    assert {*one, *other} <= set(history)
    assert not {pair.liked for pair in one} & {pair.liked for pair in other}
    assert len({pair.liked for pair in (*one, *other)}) == 2 * len(one)


def test_a_choice_among_many_is_never_on_both_sides() -> None:
    """Eight choices of one liked over three: 24 pairs, but eight references."""
    history = [Pair(10 * n, 10 * n + k, "") for n in range(8) for k in (1, 2, 3)]
    for seed in range(20):
        one, other = halves(history, np.random.default_rng(seed), num_references=8)
        assert len(one) == len(other) == 4
        assert len({pair.liked for pair in (*one, *other)}) == 8


@pytest.mark.parametrize(("num_pairs", "size"), [(0, None), (3, None), (4, 2), (5, 2), (40, 8)])
def test_a_short_history_has_no_halves(num_pairs, size) -> None:
    history = [Pair(2 * n, 2 * n + 1, "") for n in range(num_pairs)]
    halved = halves(history, np.random.default_rng(0), num_references=8)
    assert (halved and len(halved[0])) == size


@given(users=st.lists(pairs, max_size=4), num_probes=st.integers(1, 12), seed=st.integers(0, 5))
def test_probes_were_shown_and_are_of_many_prompts(users, num_probes, seed) -> None:
    shown = PairTable({f"u{n}": tuple(each) for n, each in enumerate(users)}, ())
    all_shown = {
        CandidateRow(row, pair.prompt)
        for each in shown.pairs.values()
        for pair in each
        for row in (pair.liked, pair.disliked)
    }
    if not all_shown:
        with pytest.raises(ValueError, match="among training images, got none"):
            choose_probes(shown, num_probes=num_probes, seed=seed)
        return
    chosen = choose_probes(shown, num_probes=num_probes, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(num_probes, len(all_shown))
    assert set(chosen) <= all_shown
    num_prompts = len({each.prompt for each in all_shown})
    assert len({probe.prompt for probe in chosen}) == min(len(chosen), num_prompts)


def test_probes_follow_the_seed_and_not_the_order_of_users() -> None:
    users = {f"u{n}": (Pair(2 * n, 2 * n + 1, f"p{n}"),) for n in range(30)}
    backwards = dict(reversed(users.items()))
    chosen = [
        choose_probes(PairTable(each, ()), num_probes=8, seed=seed)
        for each, seed in ((users, 1), (backwards, 1), (users, 2))
    ]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_fewer_probes_are_the_first_of_more() -> None:
    shown = PairTable({"u": tuple(Pair(2 * n, 2 * n + 1, f"p{n % 3}") for n in range(9))}, ())
    more = choose_probes(shown, num_probes=12, seed=0)
    assert choose_probes(shown, num_probes=5, seed=0) == more[:5]
