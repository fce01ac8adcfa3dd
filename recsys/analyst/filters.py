"""The filters: a model version, and time ranges of choices and signatures."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from recsys.analyst.navigation import parameter
from recsys.counts import counted
from storage.browsing import Window
from storage.records import VersionSummary

_BOUNDS = ("chosen_from", "chosen_to", "signed_from", "signed_to")


def short(model_version: str) -> str:
    """Return the first digits of a model version."""
    return model_version[:10]


def select_version(versions: Sequence[VersionSummary]) -> str:
    """Ask for a model version, by default the address's or the newest."""
    names = [each.model_version for each in versions]
    named = parameter("version")
    if len(names) < 2:
        return names[0] if names else ""
    counts = {each.model_version: each.num_signatures for each in versions}
    chosen = st.selectbox(
        "Model version",
        names,
        index=names.index(named) if named in names else 0,
        format_func=lambda name: f"{short(name)} · {counted(counts[name], 'signature')}",
        key="version",
    )
    st.query_params["version"] = chosen
    return chosen


def select_window() -> Window:
    """Ask for the time range of the last choice and of the signature; dates are UTC."""
    st.caption("Dates are whole days in UTC. An empty field sets no bound.")
    st.markdown("**Last choice**")
    chosen_from, chosen_to = _between("chosen")
    st.markdown("**Signature made**")
    signed_from, signed_to = _between("signed")
    st.button("Clear", key="clear", on_click=_clear, type="tertiary")
    return window_of(chosen_from, chosen_to, signed_from, signed_to)


def window_of(
    chosen_from: date | None,
    chosen_to: date | None,
    signed_from: date | None,
    signed_to: date | None,
) -> Window:
    """Return the window of whole days, the last ones included."""
    return Window(_begin(chosen_from), _end(chosen_to), _begin(signed_from), _end(signed_to))


def described(window: Window) -> str:
    """Return the window in words; empty if it sets no bound."""
    parts = [
        _phrase("last choice", window.chosen_from, window.chosen_until),
        _phrase("signature made", window.signed_from, window.signed_until),
    ]
    return "; ".join(part for part in parts if part)


def _phrase(what: str, begin: datetime | None, end: datetime | None) -> str:
    since = f" from {begin:%Y-%m-%d}" if begin else ""
    until = f" to {end - timedelta(days=1):%Y-%m-%d}" if end else ""
    return f"{what}{since}{until}" if since or until else ""


def _between(name: str) -> tuple[date | None, date | None]:
    left, right = st.columns(2)
    begin = left.date_input("From", value=None, key=f"{name}_from", format="YYYY-MM-DD")
    end = right.date_input("To", value=None, key=f"{name}_to", format="YYYY-MM-DD")
    return begin, end


def _begin(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)


def _end(day: date | None) -> datetime | None:
    # The last day that a calendar knows has no day after it.
    if day is None or day == date.max:
        return None
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _clear() -> None:
    for name in _BOUNDS:
        st.session_state[name] = None
