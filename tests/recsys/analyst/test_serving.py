"""What is loaded before the page answers is what its first view needs."""

import json
import os
import subprocess
import sys
import threading

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.web import cli

from recsys.analyst import opening, serving
from recsys.analyst.launch import SCRIPT
from storage.database import Database

_FIRST_VIEW = f"""
import json, sys
from recsys.analyst import serving
from streamlit.testing.v1 import AppTest

AppTest.from_string("import streamlit as st; st.html('nothing')").run(timeout=60)
serving.load_first_view()
before = set(sys.modules)
app = AppTest.from_file({str(SCRIPT)!r}).run(timeout=60)
drawn = [button.key for button in app.button if button.key.startswith("open ")]
print(json.dumps([sorted(before), sorted(set(sys.modules) - before), drawn]))
"""


@pytest.fixture
def no_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


def test_the_first_view_imports_no_package_anew_and_nothing_heavy(place, storage):
    shown = subprocess.run(
        [sys.executable, "-c", _FIRST_VIEW],
        env=os.environ,
        check=True,
        capture_output=True,
        text=True,
    )
    before, anew, drawn = json.loads(shown.stdout)

    assert len(drawn) == 6, "the list was drawn"
    others = {name.split(".")[0] for name in anew} - sys.stdlib_module_names
    assert others <= {"streamlit", "recsys", "storage"}
    assert not {"torch", "transformers", "faiss", "pandas", "sklearn", "matplotlib"} & {
        *before,
        *anew,
    }


def test_the_first_view_uses_the_storage_that_was_opened(place, storage, no_caches, monkeypatch):
    serving.load_first_view()
    monkeypatch.setattr(Database, "__init__", lambda *_, **__: pytest.fail("opened anew"))

    app = AppTest.from_file(str(SCRIPT)).run(timeout=60)

    assert not app.exception
    assert not app.error
    assert len([button for button in app.button if button.key.startswith("open ")]) == 6


def test_what_cannot_be_opened_is_told_by_the_page(place, tmp_path, no_caches):
    (tmp_path / "recsys.db").write_text("no database\n" * 100)

    serving.load_first_view()

    (error,) = AppTest.from_file(str(SCRIPT)).run(timeout=60).error
    assert "must be a SQLite database" in error.value


def test_a_database_at_an_address_where_none_listens_is_told_in_a_sentence(
    place, no_caches, monkeypatch
):
    monkeypatch.setenv("RECSYS_DATABASE_URL", "postgresql://u:p@127.0.0.1:1/x")

    serving.load_first_view()

    (error,) = AppTest.from_file(str(SCRIPT)).run(timeout=60).error
    assert error.value == "the database does not answer or is busy: try again later"


def test_whoever_waits_behind_another_visitor_is_told_early(place, storage, no_caches, monkeypatch):
    monkeypatch.setattr(opening, "_WAITS_AT_MOST_S", 0.01)

    with opening._opening:
        (error,) = AppTest.from_file(str(SCRIPT)).run(timeout=60).error

    assert error.value == "the database does not answer yet: reload the page in a while"


def test_ctrl_c_while_it_loads_is_a_quiet_stop(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(serving.threading.Thread, "join", interrupted)
    monkeypatch.setattr(serving, "load_first_view", lambda: None)

    with pytest.raises(SystemExit) as stopped:
        serving.main()

    assert stopped.value.code == 130
    assert capsys.readouterr().err == "Stopped by Ctrl-C\n"


def test_a_database_that_does_not_answer_does_not_keep_the_page_from_answering(monkeypatch):
    answers, served = threading.Event(), []
    monkeypatch.setattr(serving, "load_first_view", answers.wait)
    monkeypatch.setattr(serving, "_WAITS_AT_MOST_S", 0.01)
    monkeypatch.setattr(cli, "main", lambda **named: served.append(named))

    serving.main()

    assert served == [{"prog_name": "streamlit"}]
    answers.set()


def test_the_page_answers_once_the_first_view_is_loaded(monkeypatch):
    order = []
    monkeypatch.setattr(serving, "load_first_view", lambda: order.append("loaded"))
    monkeypatch.setattr(cli, "main", lambda **_: order.append("answers"))

    serving.main()

    assert order == ["loaded", "answers"]
