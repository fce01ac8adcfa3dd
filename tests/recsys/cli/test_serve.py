"""`recsys serve` in a process of its own, and the commands that ask it."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest


@pytest.fixture(scope="module")
def names() -> list[str]:
    return ["a.png", "b.png", "c.png"]


@pytest.fixture(autouse=True)
def pictures(home: Path, picture, names, checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(checkpoint))
    for seed, name in enumerate(names):
        (home / name).write_bytes(picture(seed))


@pytest.fixture
def server(spawn, small_adaptations) -> Iterator[str]:
    """The address of a server on an empty machine; stopped by SIGTERM, which must be clean."""
    audiences = [f"--audience={name}={folder}" for name, folder in small_adaptations.items()]
    process = spawn("serve", "--address", "127.0.0.1:0", *audiences)
    line = process.stdout.readline()
    assert line.startswith("serving on 127.0.0.1:"), process.communicate()[1]
    yield line.split()[-1]
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_rank_choose_show_and_erase_through_a_server(run, names, server: str, store) -> None:
    def ranked() -> dict:
        result = run("rank", "--server", server, "--user", "ann", "--json", *names)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    first = ranked()
    assert first["personalization"] == "COLD_START"
    local = json.loads(run("rank", "--local", "--user", "ann", "--json", *names).stdout)
    for there, here in zip(first["candidates"], local["candidates"], strict=True):
        assert (there["id"], there["rank"]) == (here["id"], here["rank"])
        assert there["score"] == pytest.approx(here["score"], abs=1e-5)

    choose = ["choose", "--user", "ann", "--liked", "a.png", "--request-id", "r1", "--json"]
    stored = json.loads(run(*choose, "--passed-over", "b.png", "--server", server).stdout)
    assert (stored["revision"], stored["repeated"]) == (1, False)
    again = json.loads(run(*choose, "--passed-over", "b.png", "--server", server).stdout)
    assert again == {**stored, "repeated": True}
    assert store.read("ann").choices[0].choice.request_id == "r1"
    assert ranked()["personalization"] == "PARTIAL"

    shown = json.loads(run("users", "show", "ann", "--server", server, "--json").stdout)
    assert shown == json.loads(run("users", "show", "ann", "--json").stdout)
    erased = run("users", "erase", "ann", "--yes", "--server", server)
    assert erased.exit_code == 0
    assert run("users", "show", "ann", "--server", server).exit_code == 3
    assert ranked() == first


def test_rank_for_an_audience_of_a_server(
    run, names, server: str, small_adaptations, monkeypatch
) -> None:
    def ranked(*options: str) -> dict:
        result = run("rank", *options, "--user", "ann", "--json", *names)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    there = ranked("--server", server, "--audience", "south")
    monkeypatch.setenv("RECSYS_AUDIENCES", f"south={small_adaptations['south']}")
    here = ranked("--local", "--audience", "south")
    assert there["model_version"] == here["model_version"]
    assert there["model_version"] != ranked("--server", server)["model_version"]
    for one, other in zip(there["candidates"], here["candidates"], strict=True):
        assert (one["id"], one["rank"]) == (other["id"], other["rank"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    for where in (["--server", server], ["--local"]):
        result = run("rank", *where, "--audience", "east", "--user", "ann", *names)
        assert result.exit_code == 2
        assert "audience must be one of" in result.stderr


def test_a_bad_image_and_a_bad_request_to_a_server(home: Path, run, server: str) -> None:
    (home / "text.png").write_text("I am a picture, honestly.")
    ask = ["rank", "--server", server, "--json", "--user"]
    partly = run(*ask, "ann", "a.png", "text.png")
    assert partly.exit_code == 5
    assert json.loads(partly.stdout)["candidates"][1]["status"] == "INVALID_IMAGE"
    bad = run(*ask, "u" * 1000, "a.png")
    assert bad.exit_code == 2
    assert "user_id" in bad.stderr


def test_no_server_is_one_sentence_with_the_remedy(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for arguments in (
        ["rank", "--user", "ann", "a.png"],
        ["choose", "--user", "ann", "--liked", "a.png", "--server", f"127.0.0.1:{port}"],
        ["users", "show", "ann", "--server", f"127.0.0.1:{port}"],
    ):
        result = run("--set", "timeout_s=10", "--set", f"address=127.0.0.1:{port}", *arguments)
        assert result.exit_code == 4
        assert "recsys serve" in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("setting", ["address", "metrics_address"])
def test_an_address_in_use_is_one_sentence_before_anything_is_loaded_or_created(
    home: Path, run, monkeypatch, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, "recsys.service.server", None)  # to import it would fail
    before = set(home.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        result = run("--set", "address=127.0.0.1:0", "--set", f"{setting}={taken}", "serve")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {setting} must be one that is free")
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert taken in result.stderr
    assert set(home.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value", "code", "says"),
    [
        ("--device", "cuda", 1, "device cuda needs a PyTorch with CUDA"),
        ("--device", "gpu", 2, "device must be cpu"),
        ("--dtype", "int8", 2, "dtype (flag) is invalid: input should be 'float32'"),
        ("--dtype", "float16", 1, "dtype float16 must be one that torch"),
        ("--audience", "north", 2, "audiences (flag) is invalid: must be NAME=CHECKPOINT"),
    ],
)
def test_a_device_or_type_that_is_not_there_is_one_sentence_before_anything_is_loaded_or_created(
    home: Path, run, monkeypatch, option: str, value: str, code: int, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "recsys.service.server", None)  # to import it would fail
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: False)
    missing = Mock(side_effect=RuntimeError("not implemented for 'Half'"))
    monkeypatch.setattr("torch.nn.functional.conv2d", missing)
    before = set(home.iterdir())
    result = run("--set", "address=127.0.0.1:0", "serve", option, value)
    assert result.exit_code == code
    assert result.stderr.startswith(f"Error: {says}")
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert set(home.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["serve", "--address", "nowhere"], 2, "HOST:PORT"),
        (["serve", "--checkpoint", "no/such"], 3, "no/such"),
        (["--set", "prefix_cache_bytes=1000", "serve"], 2, "set prefix_cache_bytes to"),
    ],
)
def test_a_server_that_cannot_start_tells_why(
    spawn, arguments: list[str], code: int, says: str
) -> None:
    process = spawn("--set", "address=127.0.0.1:0", *arguments)
    output, log = process.communicate(timeout=60)
    assert process.returncode == code, log
    assert output == ""
    assert says in log
    assert "Traceback" not in log
