"""The view of users: a list to search, to sort and to page through, or one user."""

import streamlit as st

from recsys.analyst import markup, sources
from recsys.analyst.card_grid import cards
from recsys.analyst.downloads import download
from recsys.analyst.empty import no_signatures
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, go, parameter, plain
from recsys.analyst.page import Page
from recsys.analyst.pager import draw_pager, offset_of
from recsys.analyst.sources import newest_liked, shown
from recsys.counts import counted
from storage.browsing import ListedUser, Order

PAGE_SIZES = (6, 12, 24)
"""Users of a page; the cards of the first are one screen, on a phone as well."""

_ORDERS = {Order.NEWEST: "Newest signature", Order.ID: "Id", Order.CHOICES: "Most choices"}
_NUM_NAMED = 6
_NUM_IMAGES = 5


def draw_users(page: Page) -> None:
    """Draw the search, then the user that the address names, or the list."""
    user_id = parameter("user")
    with st.container(horizontal=True, key="asked"):
        typed = st.text_input(
            "Search for a user",
            placeholder="Search for a user by any part of the id",
            key="search",
            icon=":material/search:",
            label_visibility="collapsed",
        ).strip()
        order, size = (Order.ID, PAGE_SIZES[0]) if user_id else _ask_how()
    if not user_id:
        _draw_list(page, typed, order, size)
        return
    if typed and typed != user_id:
        _draw_named(page, typed)
    user = page.runtime.browser.user(user_id, model_version=page.version)
    if user is None:
        st.info(f"No user {user_id} is stored.", icon=":material/person_off:")
        return
    from recsys.analyst.one_user import draw_user

    draw_user(page, user)


def _ask_how() -> tuple[Order, int]:
    """Ask for the order of the list, and how many users a page has."""
    order = st.selectbox(
        "Sort by",
        list(_ORDERS),
        format_func=_ORDERS.__getitem__,
        key="order",
        label_visibility="collapsed",
        width=190,
    )
    size = st.selectbox(
        "Users of a page",
        PAGE_SIZES,
        format_func="{} a page".format,
        key="size",
        label_visibility="collapsed",
        width=130,
    )
    return Order(order), int(size)


def _draw_list(page: Page, part: str, order: Order, size: int) -> None:
    browser, version, window = page.runtime.browser, page.version, page.window
    is_all = not part and window.is_open
    total = page.num_users if is_all else browser.count(part, model_version=version, window=window)
    at = {"total": total, "size": size}
    offset = offset_of("users", (part, order, size, window, version), **at)
    users = browser.users(
        part, model_version=version, window=window, order=order, offset=offset, limit=size
    )
    _draw_heading(page, part, order)
    if not users:
        which = f"whose id contains {part!r}" if part else "in this time range"
        st.info(f"There is no user {which}.")
    for user, card in zip(users, cards(len(users), "user"), strict=True):
        with card:
            _draw_card_of(page, user)
    draw_pager("users", offset, **at)
    if users:
        _download_users(page, part)
    if not page.version:
        no_signatures()


def _draw_named(page: Page, part: str) -> None:
    """Draw the first users whose id contains a part, above the one who is shown."""
    browser = page.runtime.browser
    users = browser.users(part, model_version=page.version, limit=_NUM_NAMED)
    if not users:
        st.info(f"There is no user whose id contains {part!r}.")
    with st.container(horizontal=True, key="found"):
        for user in users:
            _draw_open(user, f"{plain(user.user_id)} · {counted(user.num_choices, 'choice')}")


def _draw_open(user: ListedUser, label: str) -> None:
    st.button(label, key=f"open {user.user_id}", on_click=_open, args=(user.user_id,))


def _draw_card_of(page: Page, user: ListedUser) -> None:
    pictures = [
        shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
        for sha256, prompt in newest_liked(page.runtime, user.user_id, _NUM_IMAGES)
    ]
    note = " · ".join(part for part in (counted(user.num_choices, "choice"), _state(user)) if part)
    head = markup.title_line(user.user_id, note)
    st.html(head + markup.gallery(pictures, size="s"))
    _draw_open(user, "Open")


def _state(user: ListedUser) -> str:
    """What is to be said of a user's signature; nothing where it is as it should be."""
    if not user.is_personal:
        return "not personalised"
    if user.is_fresh:
        return ""
    return "stale" if user.signed_revision else "no signature"


def _draw_heading(page: Page, part: str, order: Order) -> None:
    summary = page.summary
    facts = [("Users", f"{page.num_users:,}", "stored")]
    if summary is not None:
        facts += [
            ("Signatures", f"{summary.num_signatures:,}", f"model {page.version[:10]}"),
            ("No current signature", *_missing(page)),
        ]
    if page.run is not None:
        facts.append(("Clusters", f"{page.run.num_clusters:,}", page.run.name))
    st.html(markup.title("Who likes what", below="Search for a user, or pick one below."))
    st.html(markup.tiles(facts))
    what = f"Users whose id contains {part!r}" if part else "Users"
    st.html(
        markup.section(what, below=f"Sorted by {_ORDERS[order].lower()}, with their newest likes.")
    )


def _missing(page: Page) -> tuple[str, str]:
    """The number of users without a current signature, and how many of them can have one."""
    missing = sources.missing(page.runtime, page.runtime.settings.database_url, page.version)
    cannot = missing.num_skipped + missing.num_failed
    parts = [f"{missing.num_due:,} to backfill"] if missing.num_due else []
    parts += [f"{cannot:,} cannot have one"] if cannot else []
    return f"{missing.num_users:,}", ", ".join(parts) or "all are fresh"


def _open(user_id: str) -> None:
    st.session_state["search"] = ""
    go(ViewName.USERS, user=user_id)


def _download_users(page: Page, part: str) -> None:
    """Offer all users that the search and the filters hold, not only those shown."""
    every = page.runtime.browser.every
    download(
        "users",
        ["user_id", "num_choices", "last_choice_at", "signed_revision", "signed_at"],
        lambda: (
            (
                each.user_id,
                each.num_choices,
                each.last_choice_at,
                each.signed_revision,
                each.signed_at,
            )
            for each in every(part, model_version=page.version, window=page.window)
        ),
    )
