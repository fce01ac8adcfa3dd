"""The page without a browser: what it says and offers in each state of storage."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from recsys.analyst import attention, opening
from recsys.analyst import launch as analyst
from recsys.cli.invocation import read_settings
from recsys.clusters.build import build_clusters
from recsys.runtime import Runtime
from storage.backfill_ledger import BackfillState, LedgerEntry
from storage.browsing import Order
from storage.database import Database, downgrade
from storage.errors import PersonalizationOff, StorageUnavailable

TIMEOUT_S = 60


@pytest.fixture
def page(place):
    """Draws the page at an address; storage is as the test made it."""
    st.cache_data.clear()
    st.cache_resource.clear()

    def draw(**parameters: str) -> AppTest:
        app = AppTest.from_file(str(analyst.SCRIPT), default_timeout=TIMEOUT_S)
        app.query_params.update(parameters)
        app.run()
        assert not app.exception, app.exception
        return app

    return draw


def _html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def test_without_a_database_it_tells_what_to_run_and_creates_none(page, tmp_path):
    app = page()

    text = _html(app)
    assert "Nothing is stored yet" in text
    assert all(name in text for name in ("recsys import", "recsys backfill", "recsys clusters"))
    assert not (tmp_path / "recsys.db").exists()


def test_a_database_without_people_is_empty_too(page):
    with Runtime(read_settings(), creates=True) as runtime:
        assert runtime.store

    assert "Nothing is stored yet" in _html(page())


def test_an_old_schema_is_a_sentence(page, storage):
    database = Database(f"sqlite:///{storage}/recsys.db")
    downgrade(database, "0001")
    database.dispose()

    (error,) = page().error

    assert "recsys db upgrade" in error.value


def test_people_without_signatures_are_found_and_told_of_backfill(page, storage):
    _execute(storage, "DELETE FROM signatures")

    app = page()
    text = _html(app)

    assert "No signatures yet" in text
    assert "user-00" in text


@pytest.mark.parametrize("view", ["map", "clusters", "freshness", "compare"])
def test_each_view_stands_without_signatures(page, storage, view):
    _execute(storage, "DELETE FROM signatures")

    assert "recsys" in _html(page(view=view))


def test_signatures_without_clusters_are_told_of_clusters_build(page, storage):
    _execute(storage, "DELETE FROM cluster_runs")

    assert "recsys clusters build" in _html(page(view="clusters"))
    assert "Neighbours" in _html(page(user="user-03"))
    assert "Map of tastes" in _html(page(view="map"))


def _opens(app: AppTest) -> list[str]:
    return [button.key[5:] for button in app.button if button.key.startswith("open ")]


def test_a_search_shows_those_whose_id_contains_it_page_by_page(page, storage):
    app = page()
    app.selectbox(key="order").set_value(Order.ID).run()
    app.text_input(key="search").set_value("ER-1").run()

    assert _opens(app) == [f"user-{number}" for number in range(10, 16)]
    assert "1–6 of 10" in _html(app)
    app.button(key="next users").click().run()
    assert _opens(app) == [f"user-{number}" for number in range(16, 20)]
    assert app.button(key="next users").disabled
    app.text_input(key="search").set_value("user-0").run()
    assert _opens(app)[0] == "user-00", "another search begins at its first page"


def test_the_list_is_sorted_and_all_of_it_is_reached(page, storage):
    app = page()
    assert _opens(app)[0] == "user-22", "the newest signature"
    app.selectbox(key="size").set_value(24).run()
    assert _opens(app)[-1] == "user-23", "who has no signature comes last"
    app.selectbox(key="order").set_value(Order.CHOICES).run()
    assert _opens(app)[:2] == ["user-00", "user-01"]
    app.selectbox(key="size").set_value(6).run()
    seen = _opens(app)
    for _ in range(3):
        seen += _opens(app.button(key="next users").click().run())
    assert sorted(seen) == [f"user-{number:02}" for number in range(24)]


def test_choices_are_paged(page, storage):
    with Runtime(read_settings()) as runtime:
        store = runtime.store
        for turn in range(10, 16):
            again = replace(store.read("user-03", limit=1).choices[0].choice, prompt=f"turn {turn}")
            store.append(again, {})

    app = page(user="user-03")
    newest, oldest = "<p class='rs-prompt'>turn 15", "<p class='rs-prompt'>a red house &lt;0&gt;"
    assert "1–6 of 9" in _html(app)
    assert (newest in _html(app), oldest in _html(app)) == (True, False)
    app.button(key="next choices").click().run()
    assert (newest in _html(app), oldest in _html(app)) == (False, True)


def test_an_unknown_user_is_a_sentence(page, storage):
    (info,) = page(user="nobody").info

    assert "nobody" in info.value


def test_an_unknown_cluster_is_a_sentence(page, storage):
    (info,) = page(view="clusters", cluster="99999999999999999999").info

    assert "no cluster" in info.value


def test_of_a_cluster_without_highlights_it_says_so(page, storage):
    _execute(storage, "DELETE FROM cluster_images")
    assert "Newest likes of typical members" in _html(page(view="clusters"))
    assert "red" in _html(page(view="clusters", cluster="1")), "a word still stands out"
    _execute(storage, "UPDATE clusters SET words = '[]'")

    app = page(view="clusters", cluster="1")

    assert [info.value for info in app.info] == ["Nothing stands out."]


def test_a_cluster_is_named_on_the_page(page, storage):
    app = page(view="clusters", cluster="1")
    app.text_input(key="name of 1").set_value(" red <b>houses</b> ")
    app.button(key="FormSubmitter:name of cluster-Save").click().run()

    assert "Cluster 1 · red &lt;b&gt;houses&lt;/b&gt;" in _html(app)
    for address in ({"view": "clusters"}, {"user": "user-03"}, {"view": "map"}):
        assert not page(**address).error
    assert "Cluster 1 · red" in _html(page(view="clusters"))
    app = page(view="clusters", cluster="1")
    app.text_input(key="name of 1").set_value("")
    app.button(key="FormSubmitter:name of cluster-Save").click().run()
    assert "houses" not in _html(app)


def test_a_run_by_another_method_says_so(page, storage):
    assert not page(view="clusters").info
    with Runtime(read_settings()) as runtime:
        version = runtime.clusters.run().model_version
        build_clusters(runtime.database, version, name="by density", method="hdbscan")

    (info,) = page(view="clusters").info

    # A run's name is shown as it was given, at the beginning of a sentence too.
    assert info.value.startswith("by density was grouped by hdbscan, run-1 by kmeans")


def test_a_cluster_tells_its_run_as_it_was_named(page, storage):
    # The small line over a heading is set in capitals.
    assert "<p class='rs-lead'>Run run-1</p>" in _html(page(view="clusters", cluster="1"))


def test_who_cannot_have_a_signature_is_told_why_and_not_of_backfill(page, storage):
    assert "run <code>recsys backfill</code>" in _html(page(user="user-23"))
    with Runtime(read_settings()) as runtime:
        version = runtime.signatures.summaries()[0].model_version
        skipped = LedgerEntry("user-23", version, 3, "job", BackfillState.SKIPPED)
        runtime.ledger.record([skipped])
    st.cache_data.clear()

    text = _html(page(user="user-23"))
    assert "user-23 has no signature: cannot have one: no choice" in text
    assert "run <code>" not in text
    assert "1 to backfill, 1 cannot have one" in _html(page())
    freshness = _html(page(view="freshness"))
    assert "1 user has no current signature: run <code>recsys backfill</code>" in freshness
    assert "1 user cannot have one: no choice" in freshness


def test_a_window_leaves_out_who_chose_at_another_time(page, storage):
    app = page()
    app.session_state["chosen_from"] = None
    app.date_input(key="chosen_from").set_value("2026-01-23").run()

    assert _opens(app) == ["user-22", "user-23"]
    assert "last choice from 2026-01-23" in _html(app)


def test_another_model_version_can_be_taken(page, storage):
    _execute(
        storage,
        "INSERT INTO signatures SELECT user_id, 'older', revision, vector, '2025-01-01 00:00:00',"
        " sequence FROM signatures WHERE user_id < 'user-05'",
    )

    app = page(view="freshness", version="older")

    assert app.selectbox(key="version").value == "older"
    assert "model older" in _html(app)
    assert "By model version" in _html(app)
    assert "22 of 24" in _html(app)
    assert "4 of 24" in _html(app), "user-00 has chosen since"


def test_an_erased_user_is_gone_at_once(page, storage):
    assert "user-05" in _html(page(user="user-05"))
    with Runtime(read_settings()) as runtime:
        runtime.store.erase("user-05")

    assert page(user="user-05").info
    assert "user-05" not in _html(page(user="user-02"))
    for view in ("map", "clusters", "freshness"):
        assert "user-05" not in _html(page(view=view))


def test_images_that_are_gone_do_not_stop_the_page(page, storage):
    shutil.rmtree(storage / "blobs")

    assert "cannot be read" in _html(page(user="user-03"))


def test_ids_like_html_and_markdown_are_shown_as_they_are(page, storage):
    name = "<b>*x*</b>"
    _execute(storage, f"UPDATE users SET user_id = '{name}' WHERE user_id = 'user-23'")

    app = page(user=name)
    text = _html(app)

    assert "&lt;b&gt;*x*&lt;/b&gt;" in text
    assert name not in text


def test_a_user_who_liked_nothing_has_neighbours_and_nothing_in_common(page, storage):
    assert "Both like" in _html(page(user="user-03"))
    _execute(storage, "UPDATE choices SET liked = NULL WHERE user_id = 'user-03'")

    text = _html(page(user="user-03"))

    assert "Neighbours" in text
    assert "No image or word in common" in text


def test_a_stale_signature_tells_no_number_of_choices_since(page, storage):
    _execute(storage, "UPDATE users SET revision = revision + 1 WHERE user_id = 'user-03'")

    text = _html(page(user="user-03"))
    assert "choices changed since" in text
    assert "behind" not in text
    labels = [button.label for button in page(view="freshness").button]
    assert any("03 · 3 choices" in label for label in labels), labels


def test_reading_leaves_storage_as_it_was(page, storage):
    before = _dump(storage)

    for view in ("users", "map", "clusters", "compare", "freshness"):
        page(view=view)
    page(user="user-01")

    assert _dump(storage) == before


def test_storage_is_opened_for_reading(place, storage):
    runtime = opening.open_runtime()

    with pytest.raises(StorageUnavailable) as refused:
        runtime.store.erase("user-01")
    assert "readonly" in str(refused.value.__cause__)


def test_two_first_visits_open_storage_once(place, storage, monkeypatch):
    st.cache_resource.clear()
    opened = []

    def slow(self, *args, **options):
        opened.append(self)
        time.sleep(0.2)
        open_database(self, *args, **options)

    open_database = Database.__init__
    monkeypatch.setattr(Database, "__init__", slow)
    with ThreadPoolExecutor(2) as visitors:
        visits = [visitors.submit(lambda: opening.open_runtime().store) for _ in range(2)]
        assert visits[0].result() is visits[1].result()
    assert len(opened) == 1


def _execute(folder: Path, statement: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "recsys.db")) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(statement)


def _dump(folder: Path) -> list[str]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "recsys.db")) as connection:
        return list(connection.iterdump())


def test_who_opted_out_is_shown_so_and_not_told_of_backfill(page, storage):
    assert "the user does not want one" not in _html(page(user="user-05"))
    with Runtime(read_settings()) as runtime:
        runtime.consents.update("user-05", personalize=False)

    text = _html(page(user="user-05"))
    assert "the user does not want one" in text
    assert "No signatures yet" not in text


def test_nothing_is_computed_of_who_opted_out(page, storage):
    with Runtime(read_settings()) as runtime:
        runtime.consents.update("user-05", personalize=False)
        with pytest.raises(PersonalizationOff):
            attention.maps_of(runtime, "user-05", "0" * 64, "")

    app = page(view="compare", a="user-05", b="user-03")

    said = [caption.value for caption in app.caption]
    assert any("does not want to be personalised: nothing is computed" in each for each in said)
    assert "Image to compare on" not in _html(app)


def test_a_restored_user_is_not_shown_the_erased_history(place, storage, monkeypatch):
    numbers = []

    def note(*args):
        numbers.append(args[2])
        return np.zeros((1, 1), np.float32)

    monkeypatch.setattr(attention, "_maps", note)
    with Runtime(read_settings()) as runtime:
        store = runtime.store
        again = [each.choice for each in store.read("user-04").choices]
        attention.maps_of(runtime, "user-04", "0" * 64, "")
        _execute(storage, "DELETE FROM choices WHERE user_id = 'user-04'")
        _execute(storage, "UPDATE users SET revision = 0 WHERE user_id = 'user-04'")
        for choice in again:
            store.append(choice, {})
        attention.maps_of(runtime, "user-04", "0" * 64, "")

    assert numbers[0] != numbers[1]
