"""Page tokens: each tells its place to its own query, and nothing to another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import InvalidRequest
from recsys.service._pages import number_of, number_token, text_of, text_token

texts = st.text(max_size=5)


@given(st.tuples(texts, texts), st.integers(0, 2**63 - 1), texts)
def test_a_token_tells_its_place_to_its_own_query(query, number, text):
    assert number_of(query, number_token(query, number)) == number
    assert text_of(query, text_token(query, text)) == text


@given(st.lists(texts, max_size=3).map(tuple), st.lists(texts, max_size=3).map(tuple), texts)
def test_a_token_tells_nothing_to_another_query(query, other, text):
    if query == other:
        return
    with pytest.raises(InvalidRequest):
        text_of(other, text_token(query, text))
    with pytest.raises(InvalidRequest):
        number_of(other, number_token(query, 3))
