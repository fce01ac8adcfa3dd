"""Paging through a list: one screen of cards at a time, then the next."""

import streamlit as st


def offset_of(name: str, selection: object, *, total: int, size: int) -> int:
    """Return how many entries are before the page that the reader is on.

    Args:
        name: of this list, once on a view.
        selection: what is listed; where it differs from before, the first page is shown.
        total: entries of the list.
        size: entries of a page, at least 1.
    """
    if st.session_state.get(_key(name, "of")) != selection:
        st.session_state[_key(name, "of")] = selection
        st.session_state[_key(name, "at")] = 0
    last = max(0, total - 1) // size
    return int(min(st.session_state[_key(name, "at")], last)) * size


def draw_pager(name: str, offset: int, *, total: int, size: int) -> None:
    """Draw which entries are shown, and buttons that lead to the page before and after."""
    if total <= size:
        return
    at = offset // size
    with st.container(horizontal=True, vertical_alignment="center", key=f"pager {name}"):
        _turn(name, "Previous", at - 1, is_off=not at, icon=":material/chevron_left:")
        text = f"{offset + 1:,}–{min(offset + size, total):,} of {total:,}"
        st.html(f"<span class='rs-page'>{text}</span>", width="content")
        is_last = offset + size >= total
        _turn(name, "Next", at + 1, is_off=is_last, icon=":material/chevron_right:")


def _turn(name: str, label: str, to: int, *, is_off: bool, icon: str) -> None:
    st.button(
        label,
        key=f"{label.lower()} {name}",
        icon=icon,
        disabled=is_off,
        on_click=st.session_state.__setitem__,
        args=(_key(name, "at"), to),
    )


def _key(name: str, what: str) -> str:
    return f"page {what} {name}"
