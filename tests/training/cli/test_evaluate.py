"""`recsys evaluate` on a few people's choices in storage, with a small checkpoint."""

import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from recsys.cli.main import cli
from recsys.scorer.trained_on import TrainedOn, write_trained_on
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKey
from storage.records import Choice, ImageFacts
from training.data.samples import read_pair_table
from training.data.trained_on import trained_on

NUM_USERS, NUM_CHOICES = 4, 8
NUM_IMAGES = 2 * NUM_USERS * NUM_CHOICES
QUICK = ("--no-baselines", "--no-signatures", "--no-cold-start", "--json")


def drawn(number: int) -> tuple[ImageFacts, bytes]:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 8, 8, len(data)), data


@pytest.fixture
def run(tmp_path: Path, open_store, monkeypatch: pytest.MonkeyPatch):
    """The command over the storage of some people, each of whom saw images of their own."""
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with open_store(tmp_path) as store:
        for choice in range(NUM_USERS * NUM_CHOICES):
            shown = [drawn(2 * choice + side) for side in range(2)]
            liked, disliked = (facts.sha256 for facts, _ in shown)
            user, at = f"u{choice % NUM_USERS}", start + timedelta(hours=choice)
            store.append(
                Choice(user, liked, (disliked,), f"a fish {choice}", at, "test"),
                {facts.sha256: (facts, data) for facts, data in shown},
            )

    def call(*arguments: object, **variables: object) -> Result:
        env = {name: str(value) for name, value in variables.items()}
        return CliRunner().invoke(cli, [str(each) for each in arguments], env=env)

    return call


def figures(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    return {name: each for name, each in report.items() if name not in ("created_at", "checkpoint")}


def test_an_ablation_finds_its_base_where_the_settings_say(run, save_small, tmp_path: Path) -> None:
    checkpoint, other = save_small("full"), save_small("bare", seed=1)
    moved = (tmp_path / "base").rename(tmp_path / "moved")
    asked = ("evaluate", checkpoint, "--against", f"bare={other}", *QUICK)
    lost = run(*asked)
    assert lost.exit_code != 0
    assert "setting base" in lost.output
    (bare,) = figures(run(*asked, RECSYS_BASE=moved))["ablations"]
    assert bare["name"] == "bare"
    assert bare["top1"]["n_users"] == NUM_USERS


def test_an_ablation_that_is_not_there_is_told_before_anything_is_measured(
    run, save_small, encoded: list[int]
) -> None:
    result = run("evaluate", save_small("full"), "--against", "bare=nowhere", *QUICK)
    assert result.exit_code != 0
    assert "there is no checkpoint nowhere" in result.output
    assert encoded == []


def test_scorers_of_one_vision_tower_encode_an_image_once(
    run, save_small, encoded: list[int]
) -> None:
    checkpoint, other = save_small("full"), save_small("bare", seed=1)
    asked = ("evaluate", checkpoint, "--against", f"bare={other}", *QUICK)
    shared = figures(run(*asked))
    once = sum(encoded)
    encoded.clear()
    apart = figures(run(*asked, RECSYS_IMAGE_TOKENS_BYTES=0))
    assert shared == apart
    assert once <= NUM_IMAGES
    assert sum(encoded) > once


def record_of(store: HistoryStore, user: str, key: IdentityKey | None) -> TrainedOn:
    """Of having learned from the older half of one person's choices."""
    table = read_pair_table(store)
    older = {user: table.pairs[user][: NUM_CHOICES // 2]}
    return trained_on(replace(table, pairs=older), parts={}, key=key)


def test_a_record_tells_what_it_can_where_one_of_its_keys_is_missing(
    run, save_small, open_store, tmp_path: Path
) -> None:
    """Of a checkpoint that was adapted with people of another storage."""
    checkpoint, (mine, theirs) = save_small("adapted"), map(IdentityKey, (b"m" * 16, b"t" * 16))
    with open_store(tmp_path) as store:
        own, earlier = record_of(store, "u0", mine), record_of(store, "u1", theirs)
    write_trained_on(replace(own, earlier=(earlier,)), checkpoint)
    for given, missing, num_seen in (
        ("m" * 16, [theirs], 1),
        ("t" * 16, [mine], 1),
        ("x" * 16, [mine, theirs], 0),
        (f"{'t' * 16},{'m' * 16}", [], 2),
    ):
        report = figures(run("evaluate", checkpoint, *QUICK, RECSYS_IDENTITY_KEY=given))
        num_users = report.get("seen", {}).get("top1", {"n_users": 0})["n_users"]
        assert num_users == num_seen, given
        assert report["unseen"]["top1"]["n_users"] == NUM_USERS - num_seen
        told = "".join(report["notes"])
        assert [key for key in (mine, theirs) if key.key_id in told] == missing
        assert ("everybody is counted as unseen" in told) == (num_seen == 0)


def test_people_are_cross_validated_in_half_precision(run, save_small, tmp_path: Path) -> None:
    folds = ("--user-folds", 2, "--prompt-folds", 2, "--steps", 2)
    asked = ("cross-validate", save_small("full"), "--out", tmp_path / "runs", *folds, "--json")
    half = figures(run(*asked, "--dtype", "bfloat16", "--batch-users", 3))
    for name in ("fine_tuned", "as_shipped", "linear"):
        assert half[name]["top1"]["n_users"] == NUM_USERS


@pytest.mark.parametrize("command", ["evaluate", "cross-validate"])
def test_a_device_that_is_not_there_is_told_in_a_sentence(command: str, run, tmp_path) -> None:
    more = ("--out", tmp_path / "runs")
    result = run(command, "tiny", "--device", "cuda:63", *more)
    assert result.exit_code != 0
    assert "device cuda:63 needs" in result.output
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def world(tmp_path_factory, draw_world) -> Path:
    """Storage of a synthetic world whose people the shipped checkpoint never saw."""
    folder, sizes = tmp_path_factory.mktemp("world"), {"images_per_prompt": 6, "size_px": 64}
    return draw_world(folder, {99: 24}, num_choices=14, num_prompts=16, **sizes)


@pytest.fixture(scope="module")
def in_float32(world: Path) -> dict:
    return evaluated(world)


def evaluated(world: Path, *options: str) -> dict:
    asked = ["evaluate", "tiny", "--json", "--seed", "1", *options]
    storage = ["--database", f"sqlite:///{world / 'recsys.db'}", "--blobs", f"file://{world}/blobs"]
    return figures(CliRunner().invoke(cli, [*asked, *storage]))


def num_right(figure: dict) -> float:
    return figure["value"] * figure["n_pairs"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a CPU without bfloat16 emulates it
def test_half_precision_measures_all_that_float32_does(world: Path, in_float32: dict) -> None:
    """bfloat16 has 8 bits: pairs that are as good as tied may come out the other way round."""
    half = evaluated(world, "--dtype", "bfloat16", "--batch-users", "5")
    assert names_in(half) == names_in(in_float32)
    assert [(each["device"], each["dtype"]) for each in (half, in_float32)] == [
        ("cpu", "bfloat16"),
        ("cpu", "float32"),
    ]
    for part in ("top1", "no_prompt", "swapped_labels", "shuffled_history"):
        one, other = half["unseen"][part], in_float32["unseen"][part]
        assert one["n_pairs"] == other["n_pairs"] > 100
        assert abs(num_right(one) - num_right(other)) <= 0.03 * one["n_pairs"], part
    assert half["signatures"]["rivals"]["shipped"]["mrr"]["value"] == pytest.approx(
        in_float32["signatures"]["rivals"]["shipped"]["mrr"]["value"], abs=0.1
    )


@pytest.mark.slow
def test_users_who_share_passes_move_no_figure(world: Path, in_float32: dict) -> None:
    together = evaluated(world, "--batch-users", "7", *QUICK)
    for part in ("top1", "no_prompt", "swapped_labels", "shuffled_history"):
        assert together["unseen"][part] == in_float32["unseen"][part]
    assert together["by_references"] == in_float32["by_references"]


def names_in(report: object) -> object:
    """The keys of a report, all the way down."""
    if isinstance(report, dict):
        return {name: names_in(each) for name, each in report.items()}
    return None
