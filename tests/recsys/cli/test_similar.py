"""`recsys similar`, with real images, a real index and a reader that needs no model."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from recsys import runtime
from recsys._loading import LoadedModel
from recsys.cli import main as cli
from recsys.cli.invocation import read_settings
from recsys.runtime import Runtime, load_model
from recsys.scorer.base_model import BaseModel
from recsys.scorer.borrowed import NOTHING_BORROWED
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.service.app import Service
from recsys.signatures.definition import Projection
from recsys.signatures.files import Probe, write_signature
from storage.signatures import SignatureStore

GIVE_UP_S = 60.0


class Reader:
    model_version = "v1"

    def read(self, references: Sequence[Any]) -> np.ndarray:
        pixels = references[-1].liked.flatten()[:8].numpy() + 0.01
        return (pixels / np.linalg.norm(pixels)).astype(np.float32)

    def read_many(self, users: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        return [self.read(each) for each in users]


class Scorer:
    model_version = "v1"

    def prefix(self, references: Sequence[Any]) -> Any:
        return SimpleNamespace(
            num_references=len(references), num_bytes=1, borrowed=NOTHING_BORROWED
        )

    def score(self, prefix: Any, candidates: Sequence[Any]) -> torch.Tensor:
        return torch.full((len(candidates),), 0.5)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    monkeypatch.setattr(
        runtime, "load_model", lambda _: LoadedModel(Scorer(), 2, signature_reader=reader)
    )
    monkeypatch.setitem(cli.COMMANDS, "similar", ("recsys.cli.similar", "Similar."))
    monkeypatch.setitem(cli.COMMANDS, "backfill", ("recsys.cli.backfill", "Backfill."))
    return reader


@pytest.fixture
def like(home: Path, run, picture, store) -> Callable[..., None]:
    """Let a user like an image of their own on a prompt, and pass another one over."""

    def like(user: str, prompt: str, *, passed_over: bool = True) -> None:
        names = []
        for which in ("liked", "passed"):
            path = home / f"{which}.png"
            path.write_bytes(picture(crc32(f"{user} {prompt} {which}".encode())))
            names.append(path.name)
        passed = ("--passed-over", names[1]) if passed_over else ()
        result = run("choose", "--user", user, "--prompt", prompt, "--liked", names[0], *passed)
        assert result.exit_code == 0

    return like


@pytest.fixture
def people(like, run) -> None:
    """Four users with choices; all have a signature."""
    for user in ("ann", "bob", "cid", "dan"):
        like(user, "a fox")
        like(user, f"the house of {user}")
    like("bob", "A fox")
    assert run("backfill").exit_code == 0


@pytest.fixture
def server(people: None, store, reader: Reader) -> Iterator[str]:
    """The address of a server over the same storage."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(GIVE_UP_S)

    async def build() -> Service:
        return Service(served)

    served = Runtime(read_settings(address="127.0.0.1:0"))
    service = do(build())
    address = do(service.start())
    do(service.load())
    yield address
    do(service.drain(GIVE_UP_S))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(GIVE_UP_S)
    loop.close()
    served.close()


def expected(store: Any, user: str) -> list[str]:
    """Everybody else by the product of signatures, the nearest first."""
    batch = SignatureStore(store.database).changes("v1", after=0, limit=100)
    own = batch.vectors[batch.user_ids.index(user)]
    order = np.argsort(-batch.vectors @ own)
    return [batch.user_ids[place] for place in order if batch.user_ids[place] != user]


@pytest.mark.usefixtures("people")
def test_the_nearest_are_told_with_what_both_like(run, store) -> None:
    answer = json.loads(run("similar", "--user", "ann", "--json").stdout)

    assert (answer["user_id"], answer["revision"], answer["is_stale"]) == ("ann", 2, False)
    assert answer["model_version"] == "v1"
    assert [each["user_id"] for each in answer["users"]] == expected(store, "ann")
    assert [each["rank"] for each in answer["users"]] == [1, 2, 3]
    by_user = {each["user_id"]: each for each in answer["users"]}
    assert by_user["cid"]["shared_prompts"] == ["a fox"]
    assert by_user["cid"]["shared_words"] == ["fox", "house"]
    assert by_user["cid"]["shared_images"] == [], "each liked an image of their own"
    assert [by_user["bob"]["num_choices"], by_user["cid"]["num_choices"]] == [3, 2]
    similarities = [each["similarity"] for each in answer["users"]]
    assert similarities == sorted(similarities, reverse=True)


@pytest.mark.usefixtures("people")
def test_people_get_a_table(run) -> None:
    result = run("similar", "--user", "ann", "-k", "1")

    assert result.exit_code == 0
    assert "revision 2" in result.stdout
    assert "both like" in result.stdout
    assert "fox" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0].isdigit()] == ["1"]


def test_a_server_tells_the_same(run, server: str) -> None:
    there = run("similar", "--user", "ann", "--server", server, "--json")
    here = run("similar", "--user", "ann", "--json")

    assert there.exit_code == 0
    there, here = json.loads(there.stdout), json.loads(here.stdout)
    for answer in (there, here):
        for each in answer["users"]:
            each["similarity"] = pytest.approx(each["similarity"], abs=1e-6)
    assert there == here


def test_a_server_tells_an_unknown_user(run, server: str) -> None:
    result = run("similar", "--user", "nobody", "--server", server)

    assert result.exit_code == 3
    assert "nobody" in result.stderr


def test_a_new_user_needs_no_backfill(run, people, like, store) -> None:
    like("eve", "a fox")

    answer = json.loads(run("similar", "--user", "eve", "-k", "10000", "--json").stdout)

    assert [each["user_id"] for each in answer["users"]] == expected(store, "eve")
    assert len(answer["users"]) == 4


def test_alone_one_is_told_what_to_run(run, like) -> None:
    like("ann", "a fox")

    result = run("similar", "--user", "ann")

    assert result.exit_code == 0
    assert "recsys backfill" in result.stdout
    assert json.loads(run("similar", "--user", "ann", "--json").stdout)["users"] == []


def test_a_user_without_a_pair_is_one_sentence(run, like) -> None:
    like("ann", "a fox", passed_over=False)

    result = run("similar", "--user", "ann")

    assert result.exit_code == 1
    assert "record one first" in result.stderr


@pytest.mark.usefixtures("people")
def test_a_stale_signature_is_told(run, like, monkeypatch) -> None:
    like("ann", "a hat")
    monkeypatch.setattr("storage.blobs.BlobStore.get", away)

    shown = run("similar", "--user", "ann")
    answer = json.loads(run("similar", "--user", "ann", "--json").stdout)

    assert shown.exit_code == 0
    assert "revision 2, which is stale" in shown.stdout
    assert answer["is_stale"] is True
    assert len(answer["users"]) == 3


def away(blobs: Any, sha256: str) -> bytes:
    raise OSError("the disk is away")


@pytest.mark.usefixtures("people")
def test_an_unknown_user_is_not_found(run, reader, monkeypatch) -> None:
    """And need not wait for the model."""
    monkeypatch.setattr(runtime, "load_model", None)

    result = run("similar", "--user", "nobody")

    assert result.exit_code == 3
    assert "nobody" in result.stderr


def test_before_anything_is_stored_nothing_is_created(home: Path, run) -> None:
    result = run("similar", "--user", "ann")

    assert result.exit_code == 3
    assert "nothing is stored yet" in result.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--user", "ann", "-k", "0"]])
def test_what_is_missing_or_out_of_range_is_a_slip(run, arguments: list[str]) -> None:
    assert run("similar", *arguments).exit_code == 2


@pytest.mark.usefixtures("people")
def test_what_is_shown_cannot_steer_a_terminal(run, like) -> None:
    for user in ("ann", "bob"):
        like(user, "\x1b[2J" + "x" * 100)

    shown = run("similar", "--user", "ann", "-k", "3").stdout

    assert "\x1b" not in shown
    assert "x" * 100 not in shown
    assert "…" in shown


@pytest.fixture
def signing_checkpoint(checkpoint: Path, tmp_path: Path, picture) -> Path:
    """The small scorer with three probes and a projection of their scores to 8 numbers."""
    scorer = load_scorer(checkpoint)
    weights = np.random.default_rng(5).normal(size=(3, 8))
    projections = {"scores": Projection(np.zeros(3), np.ones(3), weights)}
    probes = [Probe(picture(seed), prompt) for seed, prompt in enumerate(["", "a hat", "a hill"])]
    folder = tmp_path / "signing"
    save_scorer(
        scorer,
        folder,
        base=BaseModel("base"),
        tokenizer=scorer.template._tokenizer,
        base_files=checkpoint / "base",
        write_more=lambda work: write_signature(work, probes, projections, num_orders=1),
    )
    return folder


def test_a_real_checkpoint_finds_near_users(
    run, like, store, signing_checkpoint: Path, monkeypatch
) -> None:
    monkeypatch.setattr(runtime, "load_model", load_model)
    for user in ("ann", "bob", "cid"):
        like(user, "a fox")
    with_it = ("--set", f"checkpoint={signing_checkpoint}")
    assert run(*with_it, "backfill").exit_code == 0

    answer = json.loads(run(*with_it, "similar", "--user", "ann", "--json").stdout)

    assert answer["model_version"] == load_scorer(signing_checkpoint).model_version
    assert sorted(each["user_id"] for each in answer["users"]) == ["bob", "cid"]
    first, last = (each["similarity"] for each in answer["users"])
    assert 1 >= first >= last >= -1


def test_signatures_of_another_type_keep_their_version_and_agree(
    run, like, store, signing_checkpoint: Path, monkeypatch
) -> None:
    monkeypatch.setattr(runtime, "load_model", load_model)
    with_it = ("--set", f"checkpoint={signing_checkpoint}")
    for user in ("ann", "bob", "cid"):
        like(user, "a fox")
    signatures, vectors = SignatureStore(store.database), []
    version = load_scorer(signing_checkpoint).model_version
    for dtype in ("bfloat16", "float32"):
        assert run(*with_it, "backfill", "--dtype", dtype).exit_code == 0
        vectors.append(signatures.get("ann", version).vector)
        with store.database.writing() as session:
            session.connection().exec_driver_sql("DELETE FROM signatures WHERE user_id != 'bob'")
    assert not np.array_equal(*vectors)
    assert vectors[0] @ vectors[1] > 0.99

    of_ann = ("similar", "--user", "ann", "--dtype", "bfloat16", "--json")
    answer = json.loads(run(*with_it, *of_ann).stdout)

    assert answer["model_version"] == version
    assert [each["user_id"] for each in answer["users"]] == ["bob"]
    assert np.array_equal(signatures.get("ann", version).vector, vectors[0])


def test_how_a_server_computes_is_not_for_its_caller_to_say(run) -> None:
    result = run("similar", "--user", "ann", "--server", "127.0.0.1:1", "--device", "cpu")
    assert result.exit_code == 2
    assert "for a scorer in this process: no --server" in result.stderr


def test_a_checkpoint_that_ships_no_probes_is_refused(
    run, like, checkpoint: Path, monkeypatch
) -> None:
    monkeypatch.setattr(runtime, "load_model", load_model)
    like("ann", "a fox")

    result = run("--set", f"checkpoint={checkpoint}", "similar", "--user", "ann")

    assert result.exit_code == 1
    assert "probes" in result.stderr
