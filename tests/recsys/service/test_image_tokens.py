"""Image tokens of a running server: used again, told in metrics, gone with their image."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from recsys.client import RecsysClient
from recsys.ranking.candidates import Candidate
from recsys.runtime import load_model
from storage.database import Database
from storage.histories import HistoryStore
from storage.takedowns import ImageTakedowns

GIVE_UP_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def live(make_live, small_checkpoint: Path, folder: Path):
    """A service of a real scorer that keeps tokens in memory and on disk."""
    settings = {"checkpoint": str(small_checkpoint), "image_tokens_folder": str(folder)}
    made = make_live(load=load_model, **settings)
    made.load()
    return made


@pytest.fixture
def encoded(live, monkeypatch) -> list[int]:
    """How many images each pass of the vision tower had, from now on."""
    backbone = live.service._runtime.scorer.backbone
    passes, encode = [], backbone.image_tokens

    def counting(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        passes.append(len(images))
        return encode(images, mask)

    monkeypatch.setattr(backbone, "image_tokens", counting)
    return passes


@pytest.fixture
def elsewhere(live) -> Iterator[HistoryStore]:
    """The same storage, as another process has it open."""
    database = Database(live.store.database.url.render_as_string(hide_password=False))
    yield HistoryStore(database, live.store.blobs, live.store.keys)
    database.dispose()


def tokens_of(live):
    return live.service._served.model.image_tokens


def files(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in folder.rglob("*.safetensors")}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def scores(ranking) -> dict[str, float]:
    return {each.id: each.score for each in ranking.candidates}


def test_what_comes_again_is_neither_read_nor_encoded(
    live, client: RecsysClient, candidate, png, encoded, monkeypatch
) -> None:
    candidates = [candidate("dark", 10), candidate("bright", 200)]
    before = scores(client.rank("ann", candidates))
    assert sum(encoded) == 2
    recorded = {"liked": png(10), "passed_over": [png(200)]}
    client.record_choice("ann", **recorded)
    client.record_choice("bob", **recorded)
    encoded.clear()
    monkeypatch.setattr(live.store.blobs, "get", lambda _: pytest.fail("read"))
    assert scores(client.rank("nobody", candidates)) == pytest.approx(before, abs=1e-6)
    own = scores(client.rank("ann", candidates))
    digests = [Candidate(each.id, each.prompt, sha256=each.digest) for each in candidates]
    assert scores(client.rank("bob", digests)) == pytest.approx(own, abs=1e-6)
    assert encoded == []


def test_tokens_of_a_candidate_that_is_not_stored_make_no_stored_image_of_it(
    client: RecsysClient, candidate
) -> None:
    sent = candidate("dark", 10)
    client.rank("ann", [sent])
    (unknown,) = client.rank("ann", [Candidate("dark", "", sha256=sent.digest)]).candidates
    assert unknown.reason == "IMAGE_NOT_FOUND"


def test_only_stored_images_are_on_disk(
    live, client: RecsysClient, candidate, png, folder: Path
) -> None:
    sent, stored = candidate("dark", 10), candidate("bright", 200)
    client.record_choice("ann", liked=png(200), passed_over=[png(90)])
    client.rank("ann", [sent, stored])
    tokens_of(live).flush()
    assert files(folder) == {stored.digest, candidate("", 90).digest}
    assert tokens_of(live).stats().num_entries == 3


@pytest.mark.parametrize("way", ["erased here", "erased elsewhere", "blocked", "removed here"])
def test_tokens_go_with_their_image(
    live, client: RecsysClient, candidate, png, folder: Path, elsewhere, way: str
) -> None:
    gone = candidate("gone", 200).digest
    client.record_choice("ann", liked=png(200), passed_over=[])
    client.record_choice("bob", liked=png(50), passed_over=[])
    for user, shade in (("ann", 200), ("bob", 50)):
        client.rank(user, [candidate("a", shade)])
    tokens_of(live).flush()
    assert gone in files(folder)
    if way == "erased here":
        client.erase_user("ann")
        assert gone not in files(folder)
    elif way == "erased elsewhere":
        elsewhere.erase("ann", by="a test")
    elif way == "blocked":
        ImageTakedowns(elsewhere.database, elsewhere.blobs).block(gone)
    else:
        client.images.remove(gone)
        assert gone not in files(folder)
    until(lambda: gone not in files(folder))
    until(lambda: tokens_of(live).stats().num_entries == 1)
    assert files(folder) == {candidate("kept", 50).digest}


def test_what_went_without_a_mark_goes_some_time_later(
    live, client: RecsysClient, candidate, png, folder: Path, elsewhere, monkeypatch
) -> None:
    client.record_choice("ann", liked=png(200), passed_over=[])
    client.rank("ann", [candidate("a", 200), candidate("sent", 90)])
    tokens_of(live).flush()
    ImageTakedowns(elsewhere.database, elsewhere.blobs).remove(candidate("a", 200).digest)
    live.service._erasures.check()
    assert len(files(folder)) == 1
    monkeypatch.setattr("recsys.service.erasures.LOOK_EVERY_S", 0.01)
    until(lambda: not files(folder))
    assert tokens_of(live).stats().num_entries == 2  # they may have been sent alone
    monkeypatch.setattr("recsys.service.erasures.SENT_FOR_S", 0.01)
    until(lambda: tokens_of(live).stats().num_entries == 0)


def test_hits_misses_and_bytes_are_told(live, client: RecsysClient, candidate, png) -> None:
    client.record_choice("ann", liked=png(200), passed_over=[])
    for _ in range(3):
        client.rank("ann", [candidate("a", 200), candidate("b", 1)])
    tokens_of(live).flush()

    def value(name: str, **labels: str) -> float:
        registry = live.service.metrics.registry
        return registry.get_sample_value(f"recsys_image_tokens_{name}", labels)

    assert (value("hits_total", tier="memory"), value("misses_total")) == (4, 2)
    assert value("hits_total", tier="disk") == 0
    assert value("bytes", tier="memory") == 2 * 2 * 32 * 4
    assert value("bytes", tier="disk") > 0


def test_the_next_server_finds_them_on_disk_and_forgets_what_has_gone(
    make_live, small_checkpoint: Path, folder: Path, live, client, candidate, png, caplog
) -> None:
    caplog.set_level("INFO")
    client.record_choice("ann", liked=png(200), passed_over=[])
    client.rank("ann", [candidate("a", 200)])
    tokens_of(live).flush()
    (name,) = files(folder)
    stray = next(folder.rglob("*.safetensors"))
    (stray.parent.parent / "00").mkdir()
    (stray.parent.parent / "00" / f"{'0' * 64}.safetensors").write_bytes(stray.read_bytes())
    url = live.store.database.url.render_as_string(hide_password=False)
    following = make_live(
        load=load_model,
        checkpoint=str(small_checkpoint),
        image_tokens_folder=str(folder),
        database_url=url,
    )
    following.load()
    assert files(folder) == {name}
    assert f"MiB on disk in {folder}" in caplog.text
    with RecsysClient(following.address, timeout_s=GIVE_UP_S) as other:
        other.rank("ann", [candidate("a", 200)])
    assert tokens_of(following).stats().num_disk_hits == 1
