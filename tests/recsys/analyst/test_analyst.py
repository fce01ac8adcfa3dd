"""`recsys analyst`: what is started, and what is refused before."""

import socket
import sys

import pytest
from click.testing import CliRunner

from recsys.analyst import launch as analyst
from recsys.analyst.launch import page_command, page_environment
from recsys.cli.analyst import command


@pytest.fixture
def started(place, monkeypatch):
    """Calls that would have become the page's process."""
    calls = []
    monkeypatch.setattr(analyst.os, "execve", lambda *call: calls.append(call))
    return calls


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_it_becomes_streamlit_with_the_settings_of_the_call(started):
    port = _free_port()

    result = CliRunner().invoke(
        command,
        ["--address", f"127.0.0.1:{port}", "--checkpoint", "tiny", "--dtype", "bfloat16"],
        obj={"blob_url": "memory://blobs"},
    )

    assert result.exit_code == 0, result.output
    ((program, arguments, environment),) = started
    assert program == arguments[0] == sys.executable
    assert arguments[1:4] == ["-m", "recsys.analyst.serving", "run"]
    assert f"--server.port={port}" in arguments
    assert "--browser.gatherUsageStats=false" in arguments
    assert environment["RECSYS_CHECKPOINT"] == "tiny"
    assert environment["RECSYS_DTYPE"] == "bfloat16"
    assert "RECSYS_DEVICE" not in environment
    assert environment["RECSYS_BLOB_URL"] == "memory://blobs"
    assert f"http://127.0.0.1:{port}" in result.output


@pytest.mark.parametrize("address", ["8501", "host:", ":8501", "host:0", "host:70000", "host:x"])
def test_an_address_that_is_none_is_a_slip(started, address):
    result = CliRunner().invoke(command, ["--address", address], obj={})

    assert result.exit_code == 2
    assert "must be HOST:PORT" in result.output
    assert started == []


def test_a_taken_port_is_told_before_anything_starts(started):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        result = CliRunner().invoke(command, ["--address", address], obj={})

    assert result.exit_code == 4
    assert "is already in use" in result.output
    assert started == []


def test_an_address_of_another_machine_is_refused_before_the_page_is_announced(started):
    result = CliRunner().invoke(command, ["--address", "192.0.2.1:8501"], obj={})

    assert result.exit_code == 2
    assert "must be of this machine, got '192.0.2.1:8501'" in result.output
    assert started == []


def test_without_streamlit_it_tells_what_to_install(started, monkeypatch):
    monkeypatch.setattr(analyst, "find_spec", lambda name: None)

    with pytest.raises(analyst.Unavailable, match=r"recsys-images\[analyst\]"):
        analyst.serve_page("127.0.0.1:8501", {})

    assert started == []


def test_an_ipv6_address_loses_its_brackets():
    assert "--server.address=::1" in page_command("[::1]:8501")


def test_settings_reach_the_page_by_its_environment(monkeypatch):
    monkeypatch.setenv("RECSYS_DEVICE", "cpu")

    environment = page_environment({"device": "cuda"})

    assert environment["RECSYS_DEVICE"] == "cuda"
