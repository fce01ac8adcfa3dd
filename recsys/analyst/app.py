"""The analyst's page: `streamlit run` runs this file anew at every interaction."""

import streamlit as st

from recsys.analyst import empty, filters, navigation, opening, sources
from recsys.analyst.image_clicks import heed_clicks
from recsys.analyst.navigation import ViewName
from recsys.analyst.page import Page
from recsys.analyst.theme import ICON, STYLE
from recsys.errors import RecsysError
from recsys.runtime import Runtime
from storage.errors import StorageError


def draw() -> None:
    """Draw the page; expected errors become a sentence."""
    st.set_page_config(page_title="recsys · analyst", page_icon=ICON, layout="wide")
    st.html(STYLE)
    try:
        runtime = opening.open_runtime()
        num_users = 0 if runtime is None else sources.num_users(runtime, _url(runtime))
        if runtime is None or not num_users:
            st.html("<div class='rs-brand'>recsys<i>Analyst</i></div>")
            empty.nothing_stored()
            return
        _draw_view(runtime, num_users)
    except (RecsysError, StorageError) as error:
        st.error(str(error), icon=":material/error:")


def _draw_view(runtime: Runtime, num_users: int) -> None:
    versions = sources.summaries(runtime, _url(runtime))
    with st.container(horizontal=True, vertical_alignment="center", key="top"):
        st.html("<div class='rs-brand'>recsys<i>Analyst</i></div>", width="content")
        view = navigation.bar()
        with st.popover("Filters", icon=":material/tune:"):
            version = filters.select_version(versions)
            window = filters.select_window()
    if not window.is_open:
        st.html(
            f"<div class='rs-chips'><span class='rs-chip warn'>Only {filters.described(window)}"
            "</span></div>"
        )
    run = sources.newest_run(runtime, version)
    heed_clicks(runtime)
    _draw(view, Page(runtime, version, tuple(versions), window, run, num_users))


def _draw(view: ViewName, page: Page) -> None:
    # Each view is imported when it is shown: the first one must not wait for the others.
    if view is ViewName.MAP:
        from recsys.analyst.user_map import draw_map as show
    elif view is ViewName.CLUSTERS:
        from recsys.analyst.cluster_view import draw_clusters as show
    elif view is ViewName.COMPARE:
        from recsys.analyst.comparison import draw_comparison as show
    elif view is ViewName.FRESHNESS:
        from recsys.analyst.freshness import draw_freshness as show
    else:
        from recsys.analyst.users import draw_users as show
    show(page)


def _url(runtime: Runtime) -> str:
    return runtime.settings.database_url


if __name__ == "__main__":
    draw()
