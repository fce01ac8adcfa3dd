"""A user's neighbours: who they are, what they like, and what of it the user likes too."""

from collections.abc import Sequence

import streamlit as st

from recsys.analyst import markup
from recsys.analyst.card_grid import cards
from recsys.analyst.downloads import download
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, link
from recsys.analyst.page import Page
from recsys.analyst.sources import cluster_of, cluster_titles, newest_liked, shown
from recsys.runtime import Runtime
from recsys.similarity.choices import StoredChoices
from recsys.similarity.index import SignatureIndex
from recsys.similarity.records import SharedTaste, SimilarUser, SimilarUsers
from recsys.similarity.rows import Neighbour
from recsys.similarity.search import shared_tastes
from storage.browsing import ListedUser

NUM_NEIGHBOURS = 6
_NUM_IMAGES = 5


def draw_neighbours(page: Page, user: ListedUser) -> None:
    """Draw the neighbours with their newest likes, and with what both like."""
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
    tastes = _tastes(page, user, neighbours)
    for each, card in zip(neighbours, cards(len(neighbours), "neighbour"), strict=True):
        with card:
            cluster = titles.get(clusters.get(each.user_id, -1), "")
            _draw_neighbour(page, user, each, cluster, tastes.get(each.user_id))
    download(
        f"neighbours of {user.user_id}",
        ["user_id", "similarity", "cluster_id"],
        lambda: [
            [each.user_id, each.similarity, clusters.get(each.user_id)] for each in neighbours
        ],
        label="Neighbours as CSV",
    )


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


def _tastes(
    page: Page, user: ListedUser, neighbours: Sequence[Neighbour]
) -> dict[str, SharedTaste]:
    """What the user and each neighbour both like; a neighbour erased meanwhile is absent."""
    near = tuple(SimilarUser(each.user_id, each.similarity) for each in neighbours)
    similar = SimilarUsers(user.user_id, page.version, user.revision, not user.is_fresh, near)
    tastes = shared_tastes(similar, StoredChoices(page.runtime.store))
    return {taste.user.user_id: taste for taste in tastes}


def _draw_neighbour(
    page: Page, user: ListedUser, other: Neighbour, cluster: str, taste: SharedTaste | None
) -> None:
    note = " · ".join(part for part in (cluster, f"{other.similarity:.3f}") if part)
    head = markup.title_line(other.user_id, note)
    pictures = [
        shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
        for sha256, prompt in newest_liked(page.runtime, other.user_id, _NUM_IMAGES)
    ]
    st.html(head + markup.note("Newest likes") + markup.gallery(pictures, size="s"))
    if taste is not None:
        st.html(_both_like(page, taste))
    with st.container(horizontal=True):
        link("Open", ViewName.USERS, key=f"open neighbour {other.user_id}", user=other.user_id)
        link(
            "Compare",
            ViewName.COMPARE,
            key=f"compare neighbour {other.user_id}",
            a=user.user_id,
            b=other.user_id,
        )


def _both_like(page: Page, taste: SharedTaste) -> str:
    """Images, prompts and words that both users like."""
    if not (taste.images or taste.prompts or taste.words):
        return markup.note("No image or word in common")
    pictures = [
        shown(page.runtime, sha256, Opinion.LIKED, text="liked by both")
        for sha256 in taste.images[:_NUM_IMAGES]
    ]
    gallery = markup.gallery(pictures, size="s") if pictures else ""
    words = markup.chips(taste.prompts) + markup.chips(taste.words, style="quiet")
    return markup.note("Both like") + gallery + words
