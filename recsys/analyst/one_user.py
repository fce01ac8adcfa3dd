"""One user: what they chose, whether the signature knows it, and who is near."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import streamlit as st

from recsys.analyst import markup, sources
from recsys.analyst.downloads import download
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, link
from recsys.analyst.page import Page
from recsys.analyst.pager import draw_pager, offset_of
from recsys.analyst.sources import cluster_of, cluster_titles, shown
from storage.browsing import ListedUser
from storage.records import StoredChoice
from storage.rules import is_told

NUM_CHOICES = 6
_MAX_PASSED_OVER = 6
_CHOICE_COLUMNS = ("revision", "chosen_at", "prompt", "liked", "passed_over")


def draw_user(page: Page, user: ListedUser) -> None:
    """Draw a user: facts, choices and neighbours."""
    cluster = cluster_of(page.runtime, page.run, [user.user_id]).get(user.user_id)
    with st.container(horizontal=True, vertical_alignment="bottom", key="who"):
        st.html(markup.title(user.user_id, over="User"))
        link("All users", ViewName.USERS, key="to all")
        link("Compare with …", ViewName.COMPARE, key="to compare", a=user.user_id)
        if cluster is not None:
            title = cluster_titles(page.runtime, [cluster])[cluster]
            link(title, ViewName.CLUSTERS, key="to cluster", cluster=str(cluster))
    st.html(
        markup.tiles(
            [
                ("Choices", f"{user.num_choices:,}", "stored"),
                ("Last choice", day(user.last_choice_at), ago(user.last_choice_at)),
                ("Signature", *_freshness(user)),
                ("Cluster", "–" if cluster is None else str(cluster), "of similar taste"),
                ("Consent", *_consent(user)),
            ]
        )
    )
    _draw_choices(page, user)
    if user.is_personal and not user.is_fresh:
        state = "no signature" if user.signed_revision is None else "a stale signature"
        why = sources.why_not_fresh(page.runtime, page.version, user)
        st.html(markup.told(f"{user.user_id} has {state}: {why}."))
    if user.signed_revision is None:
        return
    from recsys.analyst.neighbours import draw_neighbours

    draw_neighbours(page, user)


def _draw_choices(page: Page, user: ListedUser) -> None:
    name = f"choices of {user.user_id}"
    at = {"total": user.num_choices, "size": NUM_CHOICES}
    offset = offset_of("choices", user.user_id, **at)
    st.html(markup.section("Choices", below="Newest first."))
    if user.num_choices:
        history = page.runtime.store.read(user.user_id, limit=offset + NUM_CHOICES)
        older = list(reversed(history.choices))[offset:]
        st.html(markup.choice_grid(_card(page, each) for each in older))
    draw_pager("choices", offset, **at)
    download(
        name,
        _CHOICE_COLUMNS,
        lambda: _rows_of_choices(reversed(page.runtime.store.read(user.user_id).choices)),
        label="Choices as CSV",
    )


def _card(page: Page, stored: StoredChoice) -> str:
    choice = stored.choice
    liked = None
    if choice.liked is not None:
        liked = shown(page.runtime, choice.liked, Opinion.LIKED, text=choice.prompt)
    passed_over = [
        shown(page.runtime, sha256, Opinion.PASSED_OVER, text=choice.prompt)
        for sha256 in choice.passed_over[:_MAX_PASSED_OVER]
    ]
    hidden = len(choice.passed_over) - len(passed_over)
    at = choice.chosen_at
    when = f"{at:%Y-%m-%d %H:%M} UTC" if is_told(at) else "time unknown"
    return markup.choice_card(
        choice.prompt,
        liked,
        passed_over,
        when=when + (f" · {hidden} more passed over" if hidden else ""),
    )


def _rows_of_choices(choices: Iterable[StoredChoice]) -> Iterator[Sequence[object]]:
    for stored in choices:
        choice = stored.choice
        passed_over = " ".join(choice.passed_over)
        yield stored.revision, choice.chosen_at, choice.prompt, choice.liked, passed_over


def _freshness(user: ListedUser) -> tuple[str, str]:
    if not user.is_personal:
        return "none", "the user does not want one"
    if user.signed_revision is None:
        return "none", "see below"
    if user.is_fresh:
        return "fresh", f"made {ago(user.signed_at)}"
    return "stale", "choices changed since"


def _consent(user: ListedUser) -> tuple[str, str]:
    learnable = "may be learned from" if user.is_learnable else "not to be learned from"
    return "personalised" if user.is_personal else "not personalised", learnable


def day(at: datetime | None) -> str:
    """Return a date as tiles show it; that of a choice is unknown where an import told no times."""
    if at is None:
        return "–"
    return f"{at:%Y-%m-%d}" if is_told(at) else "unknown"


def ago(at: datetime | None) -> str:
    """Return how long ago something was, in the largest fitting unit; empty where it is unknown."""
    if at is None or not is_told(at):
        return ""
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,.0f} {unit} ago"
    return "just now"
