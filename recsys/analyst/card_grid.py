"""Cards side by side, three in a row; on a phone one below the other, or two in a row (`theme`)."""

from collections.abc import Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

_IN_A_ROW = 3


def cards(count: int, name: str) -> Iterator[DeltaGenerator]:
    """Make places for cards, to be drawn in one after the other.

    Args:
        count: how many.
        name: of this grid, once on a view.
    """
    grid = st.container(key=f"grid {name}")
    columns: list[DeltaGenerator] = []
    for place in range(count):
        if place % _IN_A_ROW == 0:
            columns = grid.columns(_IN_A_ROW)
        with columns[place % _IN_A_ROW]:
            yield st.container(border=True, key=f"card {name} {place}")
