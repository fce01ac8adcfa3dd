"""The view of freshness: how many signatures are up to date with their user's choices."""

import math
from collections.abc import Sequence

import streamlit as st

from recsys.analyst import markup, sources
from recsys.analyst.downloads import download, paged
from recsys.analyst.empty import no_signatures
from recsys.analyst.filters import short
from recsys.analyst.navigation import ViewName, link
from recsys.analyst.one_user import ago
from recsys.analyst.page import Page
from recsys.analyst.theme import PALETTE
from recsys.counts import counted
from recsys.signatures.missing import missing_told, reason_told
from storage.backfill_ledger import MissingSignatures
from storage.browsing import ListedUser, step_for

NUM_SHOWN = 12
_MAX_SAMPLE = 2_000


def draw_freshness(page: Page) -> None:
    """Draw counts by model version, when signatures were made, and which are missing or stale."""
    st.html(
        markup.title(
            "Freshness",
            below="A signature is stale if its user's choices have changed since, and missing if it"
            " was never computed. Neighbours and clusters do not take the change into account.",
        )
    )
    summary = page.summary
    if summary is None:
        no_signatures()
        return
    missing = _missing(page, page.version)
    fresh = _num_fresh(page, page.version)
    st.html(
        markup.tiles(
            [
                (
                    "Fresh",
                    share(fresh, page.num_users),
                    f"{fresh:,} of {counted(page.num_users, 'user')}",
                ),
                ("No current signature", f"{missing.num_users:,}", f"model {short(page.version)}"),
                (
                    "Newest signature",
                    ago(summary.newest_at) or "–",
                    f"{summary.newest_at:%Y-%m-%d %H:%M} UTC" if summary.newest_at else "",
                ),
            ]
        )
    )
    for line in missing_told(missing):
        st.html(markup.told(line))
    _draw_days(page, summary.num_signatures)
    _draw_versions(page)
    _draw_stale(page)


def share(part: int, whole: int) -> str:
    """Return a percentage, rounded down, so that 100 % means all."""
    return f"{math.floor(1000 * part / max(whole, 1)) / 10:.1f}%"


def days_of(users: list[ListedUser]) -> dict[str, int]:
    """Return the number of signatures made on each day, oldest first."""
    days: dict[str, int] = {}
    for name in sorted(f"{user.signed_at:%Y-%m-%d}" for user in users if user.signed_at):
        days[name] = days.get(name, 0) + 1
    return days


def _draw_days(page: Page, num_signatures: int) -> None:
    step = step_for(num_signatures, _MAX_SAMPLE)
    users = page.runtime.browser.sample(model_version=page.version, window=page.window, step=step)
    days = days_of(users)
    text = "All signatures." if step == 1 else f"A sample of one signature in {step}."
    st.html(markup.section("When signatures were made", below=text))
    if len(days) < 2:
        only = next(iter(days), None)
        st.caption(f"All on {only}." if only else "None in this time range.")
        return
    bars = {
        "type": "bar",
        "x": list(days),
        "y": [count * step for count in days.values()],
        "marker": {"color": PALETTE[0]},
        "hovertemplate": "%{x}: %{y:,}<extra></extra>",
    }
    layout = {
        "height": 220,
        "margin": {"l": 44, "r": 6, "t": 6, "b": 26},
        "bargap": 0.3,
        "paper_bgcolor": "#fbfaf8",
        "plot_bgcolor": "#fbfaf8",
        "xaxis": {"fixedrange": True, "type": "date"},
        "yaxis": {"fixedrange": True, "gridcolor": "#e9e6e0"},
    }
    st.plotly_chart(
        {"data": [bars], "layout": layout}, key="days", theme=None, config={"displayModeBar": False}
    )


def _draw_versions(page: Page) -> None:
    if len(page.versions) < 2:
        return
    st.html(markup.section("By model version", below="Stored users with a fresh signature."))
    total = max(page.num_users, 1)
    fresh = {each.model_version: _num_fresh(page, each.model_version) for each in page.versions}
    rows = [
        (short(version), number / total, f"{number:,} of {total:,}")
        for version, number in fresh.items()
    ]
    st.html(markup.bars(rows))


def _num_fresh(page: Page, model_version: str) -> int:
    """Both counts are kept for seconds, and not from the same moment."""
    return max(0, page.num_users - _missing(page, model_version).num_users)


def _missing(page: Page, model_version: str) -> MissingSignatures:
    return sources.missing(page.runtime, page.runtime.settings.database_url, model_version)


def _draw_stale(page: Page) -> None:
    stale = page.runtime.signatures.stale(page.version, limit=NUM_SHOWN)
    if not stale:
        st.success("Every signature is fresh.", icon=":material/check_circle:")
        return
    st.html(
        markup.section(
            "Users without a current signature",
            below=f"The first {len(stale)} by id; the file lists all.",
        )
    )
    reasons = _reasons(page, stale)
    with st.container(key="stale"):
        for user_id, _ in stale:
            user = page.runtime.browser.user(user_id, model_version=page.version)
            if user is None:  # erased meanwhile
                continue
            text = f"{user_id} · {counted(user.num_choices, 'choice')} · {reasons[user_id]}"
            link(text, ViewName.USERS, key=f"stale {user_id}", user=user_id)

    def rows(after: str) -> list[tuple[str, int, str]]:
        found = page.runtime.signatures.stale(page.version, after=after)
        why = _reasons(page, found)
        return [(user_id, revision, why[user_id]) for user_id, revision in found]

    download(
        f"stale {short(page.version)}",
        ["user_id", "revision", "reason"],
        lambda: paged(rows),
        label="Stale users as CSV",
    )


def _reasons(page: Page, users: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Why each of these users, with their revisions, has no current signature."""
    entries = page.runtime.ledger.entries(page.version, [user_id for user_id, _ in users])
    return {user_id: reason_told(entries.get(user_id), revision) for user_id, revision in users}
