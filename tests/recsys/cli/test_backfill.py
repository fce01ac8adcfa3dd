"""`recsys backfill`, with real images and a reader that needs no model."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from recsys import runtime
from recsys._loading import LoadedModel
from recsys.cli import backfill as module
from recsys.cli import main as cli
from recsys.images.decode import ImageLimits, decode
from recsys.runtime import load_model
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import CandidateImage, Reference
from recsys.signatures.definition import Projection
from recsys.signatures.probes import encode_probes
from recsys.signatures.reader import SignatureReader
from storage.signatures import SignatureStore


class Scorer:
    model_version = "v1"

    def prefix(self, references: Sequence[Any]) -> Any:
        raise AssertionError("a backfill scores nothing")

    score = prefix


class Reader:
    model_version = "v1"

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None

    def read(self, references: Sequence[Any]) -> np.ndarray:
        self.before()
        pixels = references[-1].liked.flatten()[:8].numpy() + 1
        return (pixels / np.linalg.norm(pixels)).astype(np.float32)

    def read_many(self, users: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        return [self.read(each) for each in users]


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    model = LoadedModel(Scorer(), 2, signature_reader=reader)
    monkeypatch.setattr(runtime, "load_model", lambda _: model)
    monkeypatch.setitem(cli.COMMANDS, "backfill", ("recsys.cli.backfill", "Backfill."))
    return reader


@pytest.fixture
def people(home: Path, run, picture, store) -> Callable[..., None]:
    """Each likes an image of their own, and passes another one over unless told not to."""

    def people(*users: str, passed_over: bool = True) -> None:
        for user in users:
            names = []
            for which in ("liked", "passed"):
                path = home / f"{which} {user}.png"
                path.write_bytes(picture(crc32(f"{user} {which}".encode())))
                names.append(path.name)
            passed = ("--passed-over", names[1]) if passed_over else ()
            assert run("choose", "--user", user, "--liked", names[0], *passed).exit_code == 0

    return people


def break_images(store, user: str) -> None:
    """Storage keeps whatever bytes it was given; a disk may not."""
    folder = Path(store.blobs.url.removeprefix("file://"))
    (stored,) = store.read(user).choices
    (file,) = folder.rglob(stored.choice.liked)
    file.write_bytes(b"no image")


def summary_of(run, *arguments: str, code: int = 0) -> dict:
    result = run("backfill", "--json", *arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_it_brings_everybody_up_to_date(run, people, store) -> None:
    people("ann", "bob")
    summary = summary_of(run)
    assert (summary["num_up_to_date"], summary["num_failed"]) == (2, 0)
    assert summary["model_version"] == "v1"
    assert summary["users_per_second"] > 0
    assert SignatureStore(store.database).count("v1") == 2
    assert summary_of(run)["num_up_to_date"] == 0
    again = run("backfill")
    assert again.exit_code == 0
    assert "up to date" in again.stdout


def test_it_says_what_happened_to_whom(run, people, store, caplog) -> None:
    people("ann", "bob", "dan")
    people("cyd", passed_over=False)
    break_images(store, "bob")
    with caplog.at_level(logging.WARNING):
        result = run("backfill", "--chunk", "1")
    assert result.exit_code == 5, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["signatures", "computed", "2"] in lines
    assert ["failed", "1"] in lines
    assert any(line[:1] == ["bob"] for line in lines)
    assert "users/s" in result.stdout
    assert caplog.text == ""
    summary = summary_of(run, code=5)
    assert (summary["num_skipped_before"], summary["num_failed_before"]) == (1, 1)
    (failure,) = summary["failures"]
    assert (failure["user_id"], failure["revision"]) == ("bob", 1)
    assert "there is none among 1 reference, the newest of" in failure["error"]
    assert summary_of(run, "--retry-failed", code=5)["num_failed"] == 1


def test_all_failures_are_listed_on_request(run, people, store) -> None:
    people("ann", "bob")
    for user in ("ann", "bob"):
        break_images(store, user)
    assert run("backfill").exit_code == 5
    plain = run("backfill", "--failures")
    assert [line.split("\t")[0] for line in plain.stdout.splitlines()] == ["ann", "bob"]
    lines = run("backfill", "--failures", "--json").stdout.splitlines()
    assert [json.loads(line)["user_id"] for line in lines] == ["ann", "bob"]
    assert run("backfill", "--failures", "--retry-failed").exit_code == 2


def test_more_failures_than_are_shown(run, people, store, monkeypatch) -> None:
    monkeypatch.setattr(module, "NUM_FAILURES_SHOWN", 1)
    people("ann", "bob")
    for user in ("ann", "bob"):
        break_images(store, user)
    result = run("backfill")
    assert "recsys backfill --failures" in result.stdout
    assert "bob" not in result.stdout


def test_one_user(run, people, store) -> None:
    people("ann", "bob")
    break_images(store, "bob")
    assert summary_of(run, "--user", "ann")["num_up_to_date"] == 1
    assert summary_of(run, "--user", "ann")["num_up_to_date"] == 0
    assert "the signature of ann" in run("backfill", "--user", "ann").stdout
    (failure,) = summary_of(run, "--user", "bob", code=5)["failures"]
    assert failure["user_id"] == "bob"
    stranger = run("backfill", "--user", "cyd")
    assert stranger.exit_code == 3
    assert "'cyd'" in stranger.stderr


def test_a_store_of_images_that_does_not_answer(run, people, store, monkeypatch) -> None:
    people("ann")

    def fail(*_: object) -> bytes:
        raise OSError(5, "the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("storage.blobs.BlobStore.get", fail)
        (failure,) = summary_of(run, code=5)["failures"]
    assert "the disk does not answer" in failure["error"]
    assert summary_of(run)["num_up_to_date"] == 1  # nobody had to ask for it


def test_ctrl_c_keeps_what_is_stored(run, people, store, reader: Reader) -> None:
    people("ann", "bob", "cyd")
    seen = []

    def stop() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    reader.before = stop
    result = run("backfill", "--chunk", "1")
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr
    assert SignatureStore(store.database).count("v1") == 2
    assert summary_of(run)["num_up_to_date"] == 1


def test_with_nothing_stored_it_says_what_to_run(run) -> None:
    result = run("backfill")
    assert result.exit_code == 3
    assert "recsys import" in result.stderr


@pytest.mark.parametrize("chunk", ["0", "5000", "x"])
def test_chunks_that_are_refused(run, chunk: str) -> None:
    assert run("backfill", "--chunk", chunk).exit_code == 2


def test_users_share_passes_where_asked_and_on_a_gpu(run, people, reader, monkeypatch) -> None:
    people("ann", "bob", "cid")
    sizes, read_many = [], reader.read_many

    def counting(users: Sequence[Any]) -> list[np.ndarray]:
        sizes.append(len(users))
        return read_many(users)

    monkeypatch.setattr(reader, "read_many", counting)
    for arguments in (["--batch-users", "2"], [], ["--device", "cuda"]):
        assert summary_of(run, *arguments)["num_up_to_date"] == 3
        people("ann", "bob", "cid")
    assert sizes == [2, 3], "two and one, one by one, all at once"


def test_a_checkpoint_without_signatures_is_refused(run, people, checkpoint, monkeypatch) -> None:
    people("ann")
    monkeypatch.setattr(runtime, "load_model", load_model)
    monkeypatch.setattr("recsys.signatures.files.has_signature", lambda _: False)
    result = run("backfill", "--checkpoint", str(checkpoint))
    assert result.exit_code == 1
    assert "ships none: name another one" in result.stderr


def test_a_real_reader_signs_what_the_choices_show(
    run, people, store, checkpoint, monkeypatch
) -> None:
    scorer = load_scorer(checkpoint)
    rng = np.random.default_rng(5)
    prompts = ("", "a hill", "a hat")
    candidates = [CandidateImage(torch.rand(3, 16, 16), prompt) for prompt in prompts]
    projection = Projection(np.zeros(3), np.ones(3), rng.normal(size=(3, 8)))
    reader = SignatureReader(scorer, encode_probes(scorer, candidates), projection)
    model = LoadedModel(scorer, 2, scorer.geometry, reader)
    monkeypatch.setattr(runtime, "load_model", lambda _: model)
    people("ann", "bob")
    assert summary_of(run)["num_up_to_date"] == 2
    signatures = SignatureStore(store.database)
    vectors = [signatures.get(user, reader.model_version).vector for user in ("ann", "bob")]
    assert [np.linalg.norm(vector) for vector in vectors] == pytest.approx([1.0, 1.0])
    assert not np.allclose(*vectors)
    (stored,) = store.read("ann").choices
    images = [
        decode(store.image(sha), ImageLimits()).float() / 255
        for sha in (stored.choice.liked, *stored.choice.passed_over)
    ]
    expected = reader.read([Reference(*images, stored.choice.prompt)])
    assert vectors[0] == pytest.approx(expected, abs=1e-5)
