"""Positions, segments and masks of packed rows, against a naive twin."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.scorer.packing import PADDING, Tokens, attention_mask, pack


def tokens(length: int, first: int = 1) -> Tokens:
    return Tokens(tuple(range(first, first + length)), (False,) * length)


def test_candidates_continue_the_prefix_side_by_side() -> None:
    packed = pack([tokens(3)], [[tokens(2, 10), tokens(1, 20)]], first_position=5)
    assert packed.ids.tolist() == [[1, 2, 3, 10, 11, 20]]
    assert packed.segments.tolist() == [[0, 0, 0, 1, 1, 2]]
    assert packed.positions.tolist() == [[5, 6, 7, 8, 9, 8]]
    assert packed.readouts.tolist() == [[4, 5]]


def test_shorter_rows_are_padded_at_the_end() -> None:
    packed = pack([tokens(2), tokens(1)], [[tokens(2)], []])
    assert packed.segments.tolist() == [[0, 0, 1, 1], [0, PADDING, PADDING, PADDING]]
    assert packed.readouts.tolist() == [[3], [-1]]


@pytest.mark.parametrize(("prefixes", "candidates"), [([], []), ([tokens(1)], [])])
def test_rows_must_pair_up(prefixes, candidates) -> None:
    with pytest.raises(ValueError, match="pair up"):
        pack(prefixes, candidates)


segments = st.lists(st.sampled_from([0, 0, 0, 1, 2, PADDING]), min_size=1, max_size=12)


@settings(deadline=None)
@given(keys=segments, data=st.data())
def test_mask_agrees_with_the_rule_written_out(keys: list[int], data: st.DataObject) -> None:
    num_queries = data.draw(st.integers(1, len(keys)))
    queries = keys[-num_queries:]
    mask = attention_mask(torch.tensor([queries]), torch.tensor([keys]), dtype=torch.float32)
    for q, query in enumerate(queries):
        for k, key in enumerate(keys):
            is_before = k <= len(keys) - num_queries + q
            allowed = is_before and key != PADDING and key in (0, query)
            assert (mask[0, 0, q, k].item() == 0.0) == allowed
    assert torch.isfinite(mask).all()
