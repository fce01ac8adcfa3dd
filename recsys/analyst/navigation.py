"""Where the reader is: the page's address holds it, so that a link leads there again."""

from enum import StrEnum

import streamlit as st


class ViewName(StrEnum):
    """The names of the views, in the order of the navigation."""

    USERS = "Users"
    MAP = "Map"
    CLUSTERS = "Clusters"
    COMPARE = "Compare"
    FRESHNESS = "Freshness"


_KEPT = ("version",)
"""Parameters that are kept from view to view."""


def current() -> ViewName:
    """Return the view that the address names, by default the first."""
    named = st.query_params.get("view", "").capitalize()
    return ViewName(named) if named in list(ViewName) else ViewName.USERS


def parameter(name: str) -> str:
    """Return a parameter of the address; empty if it is absent."""
    return str(st.query_params.get(name, ""))


def go(view: ViewName, **parameters: str) -> None:
    """Go to a view; to be called by a widget before the page is drawn again."""
    kept = {name: st.query_params[name] for name in _KEPT if name in st.query_params}
    st.query_params.from_dict({"view": view.value.lower()} | kept | parameters)


def bar() -> ViewName:
    """Show the navigation; return the view to be shown."""
    view = current()
    st.session_state["navigation"] = view
    st.segmented_control(
        "ViewName",
        list(ViewName),
        key="navigation",
        required=True,
        format_func=lambda each: each.value,
        label_visibility="collapsed",
        on_change=lambda: go(st.session_state["navigation"] or ViewName.USERS),
    )
    return view


def plain(text: str) -> str:
    """Escape text that a label would read as Markdown."""
    return "".join(f"\\{each}" if each in r"\`*_{}[]()#+-.!:~$|<>" else each for each in text)


def link(label: str, view: ViewName, *, key: str, primary: bool = False, **parameters: str) -> None:
    """Draw a button that leads to a view."""
    st.button(
        plain(label),
        key=key,
        type="primary" if primary else "secondary",
        on_click=go,
        args=(view,),
        kwargs=parameters,
    )
