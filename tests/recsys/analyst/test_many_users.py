"""The page on 100,000 users: each view opens, and the list is searched, sorted and paged."""

import importlib.util
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from recsys.analyst.launch import SCRIPT
from storage.browsing import Order

_spec = importlib.util.spec_from_file_location(
    "many_users", Path(__file__).with_name("many_users.py")
)
many_users = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(many_users)

pytestmark = pytest.mark.slow
NUM_USERS = 100_000
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crowd")
    many_users.fill(folder, NUM_USERS)
    return folder


@pytest.fixture
def draw(place, crowd):
    """Draws the page at an address."""
    place.setenv("RECSYS_DATABASE_URL", f"sqlite:///{crowd}/recsys.db")
    place.setenv("RECSYS_BLOB_URL", f"file://{crowd}/blobs")
    st.cache_data.clear()
    st.cache_resource.clear()

    def draw(**parameters: str) -> AppTest:
        app = AppTest.from_file(str(SCRIPT), default_timeout=TIMEOUT_S)
        app.query_params.update(parameters)
        app.run()
        assert not app.exception, app.exception
        return app

    return draw


def _html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def _opens(app: AppTest) -> list[str]:
    return [button.key[5:] for button in app.button if button.key.startswith("open ")]


def test_the_list_is_searched_sorted_and_paged(draw):
    names = [many_users.user_name(number) for number in range(NUM_USERS)]
    app = draw()
    assert _opens(app) == names[:-7:-1], "the newest signatures"
    assert "1–6 of 100,000" in _html(app)
    app.button(key="next users").click().run()
    assert _opens(app) == names[-7:-13:-1]
    part = names[70_000][9:15].upper()
    wanted = sorted(name for name in names if part.lower() in name)
    app.selectbox(key="order").set_value(Order.ID).run()
    app.text_input(key="search").set_value(part).run()
    assert _opens(app) == wanted[:6]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"view": "map"}, "Map of tastes"),
        ({"view": "clusters"}, "Cluster 12"),
        ({"view": "clusters", "cluster": "3"}, "8,334"),
        ({"view": "freshness"}, "100.0%"),
        ({"user": many_users.user_name(5)}, "Neighbours"),
    ],
)
def test_each_view_opens(draw, parameters, says):
    app = draw(**parameters)
    if parameters == {"view": "clusters"}:
        app.button(key="next clusters").click().run()

    assert says in _html(app)
    assert not app.error
