"""The view of the map: users on a plane, by cluster; a click shows the user beside it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from platformdirs import user_cache_path

from recsys.analyst import markup
from recsys.analyst.downloads import download
from recsys.analyst.empty import no_signatures
from recsys.analyst.layouts import Layout, Method, cached_layout, keep_layout, lay_out
from recsys.analyst.markup import Opinion
from recsys.analyst.navigation import ViewName, link, plain
from recsys.analyst.page import Page
from recsys.analyst.sources import cluster_of, cluster_titles, newest_liked, shown
from recsys.analyst.theme import INK, PALETTE, QUIET
from recsys.counts import counted
from recsys.runtime import Runtime
from storage.browsing import ListedUser, step_for

MAX_POINTS = {Method.PCA: 10_000, Method.TSNE: 2_500}
SYMBOLS = (*("circle", "square", "diamond", "triangle-up", "cross", "x", "pentagon", "star"),)
"""Of the clusters that have a colour, so that it is not the colour alone that tells them apart."""
REST_SYMBOL = "circle-open"
"""Of users of other clusters, or of none."""

_HEIGHT_PX = 640
_TYPED = "user on the map"
_WIDE = "<style>.stMainBlockContainer { max-width: none !important; }</style>"
_MAX_SVG_POINTS = 1_500  # more are drawn by WebGL, which not every browser has
_NAMES = {Method.PCA: "Principal components (PCA)", Method.TSNE: "Local structure (t-SNE)"}

Point = tuple[ListedUser, float, float, int | None]
"""A user, x, y, and the cluster."""


def draw_map(page: Page) -> None:
    """Draw the map, and the user who is clicked on it."""
    st.html(
        markup.title(
            "Map of tastes",
            below="Each point is a user; near points have near signatures. Scroll or pinch to zoom,"
            " drag to move, click a point to show the user.",
        )
    )
    if not page.version:
        no_signatures()
        return
    method = st.segmented_control(
        "Layout",
        list(Method),
        default=Method.PCA,
        format_func=_NAMES.__getitem__,
        required=True,
        key="layout",
        label_visibility="collapsed",
    )
    method = Method(method or Method.PCA)
    points, step, kept = read_points(page, method)
    if not points:
        st.info("No user with a signature in this time range: widen the filters.")
        return
    sizes = {} if page.run is None else cluster_sizes(points)
    st.html(_WIDE)
    left, right = st.columns([3, 1])
    with left, st.container(key="plain map"):
        event: Any = st.plotly_chart(
            figure(points, cluster_titles(page.runtime, sizes)),
            key=f"map {method}",
            on_select=_forget_typed,
            selection_mode="points",
            config={"scrollZoom": True, "displaylogo": False, "displayModeBar": False},
            theme=None,
        )
    with left:
        st.caption(_caption(page, len(points), step, method, kept))
    with right:
        _draw_beside(page, _clicked(event), points)
    download(
        "map",
        ["user_id", "x", "y", "cluster_id", "last_choice_at"],
        lambda: [
            [user.user_id, x, y, cluster, user.last_choice_at] for user, x, y, cluster in points
        ],
        label="Points as CSV",
    )


def read_points(page: Page, method: Method) -> tuple[list[Point], int, float]:
    """Return the users of the map as stored now, the sample's step, and the explained variance."""
    count = page.runtime.signatures.count(page.version)
    step = step_for(count, MAX_POINTS[method])
    last = page.runtime.signatures.last_sequence(page.version)
    url = page.runtime.settings.database_url
    layout = _layout(page.runtime, url, page.version, step, last, method)
    users = page.runtime.browser.sample(model_version=page.version, window=page.window, step=step)
    clusters = cluster_of(page.runtime, page.run, [user.user_id for user in users])
    places = {int(sequence): row for row, sequence in enumerate(layout.sequences)}
    points: list[Point] = []
    for user in users:
        row = places.get(user.sequence or 0)
        if row is not None:
            x, y = (float(value) for value in layout.points[row])
            points.append((user, x, y, clusters.get(user.user_id)))
    return points, step, layout.kept


def cluster_sizes(points: Sequence[Point]) -> dict[int, int]:
    """Return the number of points of each cluster, the largest first."""
    sizes: dict[int, int] = defaultdict(int)
    for *_, cluster in points:
        if cluster is not None:
            sizes[cluster] += 1
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def figure(points: Sequence[Point], clusters: Mapping[int, str]) -> dict[str, Any]:
    """Return the map as a Plotly figure.

    Args:
        points: all of them.
        clusters: what each is called, by size; the first ones get a colour and a symbol of their
            own. They are told in the legend: a label on the plane would cover points.
    """
    named = list(clusters)[: len(PALETTE)]
    groups: dict[int | None, list[Point]] = defaultdict(list)
    for point in points:
        groups[point[3] if point[3] in named else None].append(point)
    rest = "Other clusters, or none" if clusters else "Users"
    colours: Mapping[int | None, str] = dict(zip(named, PALETTE, strict=False))
    kind = "scatter" if len(points) <= _MAX_SVG_POINTS else "scattergl"
    size = 8 if len(points) <= _MAX_SVG_POINTS else 4
    order: list[int | None] = [None, *named]
    plain_mark = (QUIET, REST_SYMBOL) if clusters else (PALETTE[0], SYMBOLS[0])
    traces = [
        _trace(
            groups[key],
            rest if key is None else clusters[key],
            {
                "size": size,
                "color": plain_mark[0] if key is None else colours[key],
                "symbol": plain_mark[1] if key is None else SYMBOLS[named.index(key)],
            },
            kind,
        )
        for key in order
        if groups[key]
    ]
    return {"data": traces, "layout": _plane()}


def _trace(points: Sequence[Point], name: str, marker: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "mode": "markers",
        "name": _text(name),
        "x": [x for _, x, _, _ in points],
        "y": [y for _, _, y, _ in points],
        "customdata": [[user.user_id] for user, *_ in points],
        "text": [_text(user.user_id) for user, *_ in points],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": marker | {"opacity": 0.75, "line": {"width": 0}},
        "selected": {"marker": {"opacity": 1, "size": 14}},
        "unselected": {"marker": {"opacity": 0.35}},
    }


def _text(text: str) -> str:
    """Text of people in a figure, which reads some tags of HTML."""
    return text.replace("<", "&lt;")


def _plane() -> dict[str, Any]:
    axis = {"visible": False, "zeroline": False}
    return {
        "height": _HEIGHT_PX,
        "margin": {"l": 0, "r": 0, "t": 8, "b": 8},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"color": INK, "family": "Source Sans, sans-serif"},
        "dragmode": "pan",
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": axis | {"scaleanchor": "x"},
        "legend": {"orientation": "h", "y": -0.02, "itemsizing": "constant"},
    }


@st.cache_data(max_entries=8, show_spinner="Laying out the map …")
def _layout(
    _runtime: Runtime, url: str, version: str, step: int, last: int, method: Method
) -> Layout:
    """Compute a layout once for each state of the signatures; slow ones are kept on disk, too."""
    folder = user_cache_path("recsys", appauthor=False) / "analyst"
    name = f"{url} {version} {step} {last} {method}"
    layout = cached_layout(folder, name)
    if layout is None:
        sequences, vectors = _runtime.browser.sample_vectors(model_version=version, step=step)
        layout = lay_out(sequences, vectors, method)
        keep_layout(folder, name, layout)
    return layout


def _clicked(event: Any) -> str | None:
    chosen = event.selection.points if event else []
    data = chosen[0].get("customdata") if chosen else None
    return str(data[0]) if data else None


def _forget_typed() -> None:
    st.session_state[_TYPED] = ""


def _draw_beside(page: Page, clicked: str | None, points: Sequence[Point]) -> None:
    """Draw the user who was clicked on, or whose id was typed, beside the map."""
    typed = st.text_input("User on the map", placeholder="Click a point, or type an id", key=_TYPED)
    user_id = typed.strip() or clicked
    found = next((point for point in points if point[0].user_id == user_id), None)
    if found is not None:
        _draw_point(page, found)
    elif user_id:
        st.info(f"{plain(user_id)} is not on the map.")


def _draw_point(page: Page, point: Point) -> None:
    user, _, _, cluster = point
    titles = cluster_titles(page.runtime, () if cluster is None else (cluster,))
    where = "in no cluster" if cluster is None else titles[cluster]
    with st.container(border=True, key="card clicked"):
        head = markup.title_line(user.user_id, f"{counted(user.num_choices, 'choice')} · {where}")
        pictures = [
            shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
            for sha256, prompt in newest_liked(page.runtime, user.user_id, 8)
        ]
        st.html(head + markup.gallery(pictures, size="m"))
        with st.container(horizontal=True):
            link("Open user", ViewName.USERS, key="open clicked", primary=True, user=user.user_id)
            link("Compare with …", ViewName.COMPARE, key="compare clicked", a=user.user_id)
            if cluster is not None:
                link(
                    f"Open cluster {cluster}",
                    ViewName.CLUSTERS,
                    key="open its cluster",
                    cluster=str(cluster),
                )


def _caption(page: Page, shown_points: int, step: int, method: Method, kept: float) -> str:
    summary = page.summary
    total = summary.num_signatures if summary else shown_points
    if step == 1:
        users = counted(shown_points, "user")
        sample = f"All {users}" if page.window.is_open and shown_points != 1 else users
    else:
        sample = f"A sample: {shown_points:,} of {counted(total, 'user')}, one signature in {step}"
    if method is Method.PCA:
        return f"{sample}. The plane explains {kept:.0%} of the signatures' variance."
    return f"{sample}. Distances between groups have no meaning in this layout."
