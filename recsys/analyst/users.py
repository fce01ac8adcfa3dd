"""The view of users: search, and one user's choices and neighbours."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import streamlit as st

from recsys.analyst import markup, sources
from recsys.analyst.card_grid import cards
from recsys.analyst.downloads import download
from recsys.analyst.empty import no_signatures
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, go, link, parameter, plain
from recsys.analyst.page import Page
from recsys.analyst.sources import cluster_of, cluster_titles, newest_liked, shown
from recsys.counts import counted
from storage.browsing import ListedUser
from storage.records import StoredChoice

NUM_SHOWN = 24
NUM_CHOICES = 12
NUM_CARDS = 6
_NUM_IMAGES = 5
_MAX_PASSED_OVER = 6
_CHOICE_COLUMNS = ("revision", "chosen_at", "prompt", "liked", "passed_over")


def draw_users(page: Page) -> None:
    """Draw the search, then the user that the address names."""
    typed = st.text_input(
        "Search for a user",
        placeholder="Search for a user by the beginning of the id",
        key="search",
        icon=":material/search:",
        label_visibility="collapsed",
    ).strip()
    user_id = parameter("user")
    if not user_id:
        _draw_results(page, typed)
        return
    if typed and typed != user_id:
        _draw_results(page, typed, is_short=True)
    user = page.runtime.browser.user(user_id, model_version=page.version)
    if user is None:
        st.info(f"No user {user_id} is stored.", icon=":material/person_off:")
        return
    _draw_user(page, user)


def _draw_results(page: Page, prefix: str, *, is_short: bool = False) -> None:
    browser, version = page.runtime.browser, page.version
    if prefix or not version:
        users = browser.users(
            prefix, model_version=version, window=page.window, limit=NUM_SHOWN + 1
        )
    else:
        users = browser.newest(model_version=version, window=page.window, limit=NUM_SHOWN + 1)
    if not is_short:
        _draw_heading(page, prefix)
    if not users:
        which = f"whose id begins with {prefix!r}" if prefix else "in this time range"
        st.info(f"There is no user {which}. Ids are case-sensitive.")
    num_cards = 0 if is_short else min(NUM_CARDS, len(users))
    for user, card in zip(users, cards(num_cards, "user"), strict=False):
        with card:
            _draw_card_of(page, user)
    with st.container(horizontal=True, key="found"):
        for user in users[num_cards:NUM_SHOWN]:
            st.button(
                f"{plain(user.user_id)} · {user.revision:,}",
                key=f"open {user.user_id}",
                help=_hint(user) or None,
                icon=None if not _hint(user) else ":material/schedule:",
                on_click=_open,
                args=(user.user_id,),
            )
    if len(users) > NUM_SHOWN:
        st.caption(f"The first {NUM_SHOWN} are shown: type more of the id.")
    if not is_short and users:
        _download_users(page, prefix)
    if not page.version:
        no_signatures()


def _draw_card_of(page: Page, user: ListedUser) -> None:
    pictures = [
        shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
        for sha256, prompt in newest_liked(page.runtime, user.user_id, _NUM_IMAGES)
    ]
    state = "" if user.is_fresh else " · stale" if user.is_personal else " · not personalised"
    head = markup.title_line(user.user_id, f"{counted(user.revision, 'choice')}{state}")
    st.html(head + markup.gallery(pictures, size="s"))
    st.button("Open", key=f"open {user.user_id}", on_click=_open, args=(user.user_id,))


def _draw_heading(page: Page, prefix: str) -> None:
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
    text = "Most recent signatures" if page.version and not prefix else "Results"
    st.html(
        markup.section(
            text,
            below="Their most recent likes; below, more users with their number of choices.",
        )
    )


def _missing(page: Page) -> tuple[str, str]:
    """The number of users without a current signature, and how many of them can have one."""
    missing = sources.missing(page.runtime, page.runtime.settings.database_url, page.version)
    cannot = missing.num_skipped + missing.num_failed
    parts = [f"{missing.num_due:,} to backfill"] if missing.num_due else []
    parts += [f"{cannot:,} cannot have one"] if cannot else []
    return f"{missing.num_due + cannot:,}", ", ".join(parts) or "all are fresh"


def _open(user_id: str) -> None:
    st.session_state["search"] = ""
    go(ViewName.USERS, user=user_id)


def _draw_user(page: Page, user: ListedUser) -> None:
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
                ("Choices", f"{user.revision:,}", "stored"),
                ("Last choice", day(user.last_choice_at), ago(user.last_choice_at)),
                ("Signature", *_freshness(page, user)),
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
    wanted = int(st.session_state.get(f"choices of {user.user_id}", NUM_CHOICES))
    history = page.runtime.store.read(user.user_id, limit=wanted)
    choices = list(reversed(history.choices))
    st.html(
        markup.section(
            "Choices",
            below=f"The most recent {len(choices)} of {history.revision:,}, newest first.",
        )
    )
    st.html(markup.choice_grid(_card(page, each) for each in choices))
    with st.container(horizontal=True):
        if history.revision > wanted:
            st.button("Show more", key="more choices", on_click=_more, args=(user.user_id, wanted))
        download(
            f"choices of {user.user_id}",
            _CHOICE_COLUMNS,
            lambda: _rows_of_choices(reversed(page.runtime.store.read(user.user_id).choices)),
            label="Choices as CSV",
        )


def _more(user_id: str, wanted: int) -> None:
    st.session_state[f"choices of {user_id}"] = wanted + 2 * NUM_CHOICES


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
    when = f"{choice.chosen_at:%Y-%m-%d %H:%M} UTC"
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


def _download_users(page: Page, prefix: str) -> None:
    """Offer all users that the search and the filters hold, not only those shown."""
    every = page.runtime.browser.every
    download(
        "users",
        ["user_id", "num_choices", "last_choice_at", "signed_revision", "signed_at"],
        lambda: (
            (each.user_id, each.revision, each.last_choice_at, each.signed_revision, each.signed_at)
            for each in every(prefix, model_version=page.version, window=page.window)
        ),
    )


def _freshness(page: Page, user: ListedUser) -> tuple[str, str]:
    if not user.is_personal:
        return "none", "the user does not want one"
    if user.signed_revision is None:
        return "none", "see below"
    if user.is_fresh:
        return "fresh", f"made {ago(user.signed_at)}"
    behind = user.revision - user.signed_revision
    return "stale", f"{counted(behind, 'choice')} behind"


def _consent(user: ListedUser) -> tuple[str, str]:
    learnable = "may be learned from" if user.is_learnable else "not to be learned from"
    return "personalised" if user.is_personal else "not personalised", learnable


def _hint(user: ListedUser) -> str:
    """What a user's button says of their signature; nothing where it is as it should be."""
    if not user.is_personal:
        return "Not personalised, as the user asked"
    return "" if user.is_fresh else "Signature missing or stale"


def day(at: datetime | None) -> str:
    """Return a date as tiles show it."""
    return "–" if at is None else f"{at:%Y-%m-%d}"


def ago(at: datetime | None) -> str:
    """Return how long ago something was, in the largest fitting unit."""
    if at is None:
        return ""
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,.0f} {unit} ago"
    return "just now"
