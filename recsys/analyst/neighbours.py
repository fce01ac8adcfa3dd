"""A user's neighbours: who they are, what they like, and why they are neighbours."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from recsys.analyst import markup
from recsys.analyst.card_grid import cards
from recsys.analyst.downloads import download
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, link
from recsys.analyst.page import Page
from recsys.analyst.sources import cluster_of, cluster_titles, newest_liked, shown
from recsys.errors import CheckpointRefused, NotFound
from recsys.runtime import Runtime
from recsys.similarity.index import SignatureIndex
from recsys.similarity.rows import Neighbour
from storage.browsing import ListedUser
from storage.errors import UnknownImage

NUM_NEIGHBOURS = 6
_NUM_IMAGES = 5


def draw_neighbours(page: Page, user: ListedUser) -> None:
    """Draw the neighbours with their images; the reasons are added as they are computed."""
    st.html(
        markup.section(
            "Neighbours",
            below="Users with the nearest signatures. Similarity is the cosine of two signatures:"
            " 1 for the same taste, 0 for nothing in common.",
        )
    )
    neighbours = nearest(page, user.user_id)
    if not neighbours:
        st.info("No other user has a signature yet: run `recsys backfill`.")
        return
    clusters = cluster_of(page.runtime, page.run, [each.user_id for each in neighbours])
    titles = cluster_titles(page.runtime, clusters.values())
    reasons = {}
    for each, card in zip(neighbours, cards(len(neighbours), "neighbour"), strict=True):
        with card:
            reasons[each.user_id] = _draw_neighbour(
                page, user, each, titles.get(clusters.get(each.user_id, -1), "")
            )
    download(
        f"neighbours of {user.user_id}",
        ["user_id", "similarity", "cluster_id"],
        lambda: [
            [each.user_id, each.similarity, clusters.get(each.user_id)] for each in neighbours
        ],
        label="Neighbours as CSV",
    )
    _explain(page, user, neighbours, reasons)


def nearest(page: Page, user_id: str) -> Sequence[Neighbour]:
    """Return the users with the nearest signatures; none if the user has no signature."""
    signature = page.runtime.signatures.get(user_id, page.version)
    if signature is None:
        return []
    index = _index(page.runtime, page.runtime.settings.database_url, page.version)
    return index.search(signature.vector, NUM_NEIGHBOURS, exclude=(user_id,))


@st.cache_resource(show_spinner="Reading the signatures …", max_entries=2)
def _index(_runtime: Runtime, url: str, model_version: str) -> SignatureIndex:
    # Snapshots of a server are quick to load; where there are none, none are made.
    return _runtime.index(model_version, makes_folder=False)


def _draw_neighbour(page: Page, user: ListedUser, other: Neighbour, cluster: str) -> DeltaGenerator:
    """Draw one card; return the place for the reason."""
    note = " · ".join(part for part in (cluster, f"{other.similarity:.3f}") if part)
    head = markup.title_line(other.user_id, note)
    pictures = [
        shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
        for sha256, prompt in newest_liked(page.runtime, other.user_id, _NUM_IMAGES)
    ]
    st.html(head + markup.gallery(pictures, size="s"))
    reason = st.empty()
    with st.container(horizontal=True):
        link("Open", ViewName.USERS, key=f"open neighbour {other.user_id}", user=other.user_id)
        link(
            "Compare",
            ViewName.COMPARE,
            key=f"compare neighbour {other.user_id}",
            a=user.user_id,
            b=other.user_id,
        )
    return reason


def _explain(
    page: Page,
    user: ListedUser,
    neighbours: Sequence[Neighbour],
    reasons: dict[str, DeltaGenerator],
) -> None:
    newest = next(iter(newest_liked(page.runtime, user.user_id, 1)), None)
    if newest is None:
        return
    try:
        from recsys.analyst import attention

        if attention.scorer_of(page.runtime) is None:
            return
        sha256, prompt = newest
        average = attention.average_map(page.runtime, page.version, sha256, prompt)
        mine = attention.maps_of(page.runtime, user.user_id, sha256, prompt).mean(axis=0)
        for each in neighbours:
            theirs = attention.maps_of(page.runtime, each.user_id, sha256, prompt, num_orders=1)[0]
            reasons[each.user_id].html(_reason(attention.shared_tokens(mine, theirs, average)))
    except (CheckpointRefused, NotFound, UnknownImage) as error:
        st.caption(f"The reasons cannot be computed: {error}")
        return
    st.caption(
        "Reasons: preference tokens to which both users attend more than the average user, on the"
        f" newest image that {user.user_id} liked, with the smaller of the two differences."
    )


def _reason(shared: Sequence[tuple[int, float]]) -> str:
    if not shared:
        return markup.chips(["no token in common"], style="quiet")
    return markup.chips(f"P{token + 1} +{over:.0%}" for token, over in shared)
