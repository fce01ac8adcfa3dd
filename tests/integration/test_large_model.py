"""The road of the large model at toy size: every command as shipped, in its recipe's own precision.

A random Idefics2 of the published topology in a folder of its own, which checkpoints do not carry;
4 bits and bfloat16 in stage 1, bfloat16 in stage 2; killed and resumed in both; and what it gives
is evaluated, served by a process and searched, with the base moved to another place.
"""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from recsys.cli.main import cli
from recsys.client import RecsysClient
from recsys.ranking.candidates import Candidate, Ranking
from recsys.scorer.checkpoint import checkpoint_version, read_preference_tokens
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.signatures import SignatureStore
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.world.creation import create_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GIVE_UP_S = 120.0
NUM_STEPS = 4
NUM_LEARNERS, NUM_JUDGES = 8, 3
# Widths of whole blocks of 64, as 4 bits need them.
SHAPE = TinyShape(
    image_px=16,
    vision_width=64,
    vision_layers=1,
    num_latents=2,
    width=128,
    layers=2,
    key_value_heads=2,
    mlp_width=128,
    vocabulary=400,
)
SMALL = {
    "base.geometry.square_px": SHAPE.image_px,
    "split.fewest_liked": 4,
    "split.held_prompts": 0.2,
    "split.validation_users": 0.2,
    "scorer.num_references": 2,
    "scorer.num_preference_tokens": 3,
}
SHORT = {
    "num_steps": NUM_STEPS,
    "num_parts": 2,
    "validate_every": 2,
    "learning_rate": 1e-3,
    "save_every_s": 0.0,
}

# Each stage is killed when two of its steps are logged; a process that ends before is a failure.
KILLED_IN_EACH_STAGE = """
import os, signal, sys, time
from pathlib import Path

import bitsandbytes, training.fitting.stages  # once for all forks
from recsys.cli.main import cli

folder, arguments = Path(sys.argv[1]), sys.argv[2:]
for stage in ("stage1", "stage2"):
    log = folder / f"{stage}.log.jsonl"
    child = os.fork()
    if child == 0:
        cli(arguments)
    while not log.exists() or len(log.read_text().splitlines()) < 2:
        ended, status = os.waitpid(child, os.WNOHANG)
        assert not ended, f"{stage} ended before its second step: {status}"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


class Home:
    """A database, a base and a place for runs, which the environment names.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "base"
        self.whole, self.cut = folder / "whole", folder / "cut"
        self.environment = {
            "RECSYS_DATABASE_URL": f"sqlite:///{folder / 'recsys.db'}",
            "RECSYS_BLOB_URL": f"file://{folder / 'blobs'}",
            "RECSYS_INDEX_FOLDER": str(folder / "index"),
            "RECSYS_IMAGE_TOKENS_FOLDER": str(folder / "tokens"),
            "RECSYS_CHECKPOINT": str(self.cut / "final"),
            "RECSYS_NUM_THREADS": "1",
        }

    def call(self, *arguments: object, **settings: object) -> Result:
        """Call a command; settings are those of `recsys --set`."""
        given = [word for name, each in settings.items() for word in ("--set", f"{name}={each}")]
        return CliRunner().invoke(cli, [*given, *map(str, arguments)])

    def training(self, out: Path) -> list[str]:
        """The command that trains, short and small; in all else the recipe as it is."""
        stages = {f"{s}.plan.{n}": each for s in ("first", "second") for n, each in SHORT.items()}
        changes = [
            word for n, each in (SMALL | stages).items() for word in ("--set", f"{n}={each}")
        ]
        where = ["--base", str(self.base), "--out", str(out), "--threads", "1"]
        return ["train", "idefics2_8b", "--synthetic", "--only", "s1-*", *where, *changes]

    @contextmanager
    def store(self) -> Iterator[HistoryStore]:
        """Its storage, opened."""
        database = Database(self.environment["RECSYS_DATABASE_URL"])
        upgrade(database)
        yield HistoryStore(database, BlobStore(self.environment["RECSYS_BLOB_URL"]))
        database.dispose()

    @contextmanager
    def serving(self) -> Iterator[RecsysClient]:
        """A client of `recsys serve` in a process, which then ends well."""
        command = [sys.executable, "-m", "recsys.cli", "serve", "--address", "127.0.0.1:0"]
        log = self.folder / "server.log"
        with log.open("w") as errors:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            assert words[:2] == ["serving", "on"], log.read_text()[-3000:]
            with RecsysClient(words[2], timeout_s=GIVE_UP_S) as client:
                yield client
            server.send_signal(signal.SIGTERM)
            assert server.wait(GIVE_UP_S) == 0, log.read_text()[-3000:]
        finally:
            server.kill()
            server.communicate()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """People to learn from, people to judge on, and a random base with its tokenizer."""
    home = Home(tmp_path_factory.mktemp("large"))
    tokenizer = train_tokenizer(["three small fish"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    model.save_pretrained(home.base)
    tokenizer.save_pretrained(home.base)
    with home.store() as store:
        for seed, num_users in ((1, NUM_LEARNERS), (2, NUM_JUDGES)):
            create_world(
                store,
                num_users=num_users,
                seed=seed,
                truth_path=home.folder / "truth.npz",
                num_choices=6,
                num_prompts=12,
                images_per_prompt=4,
                size_px=32,
            )
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith("RECSYS_")]:
            patch.delenv(name)
        for name, value in home.environment.items():
            patch.setenv(name, value)
        yield home


@pytest.fixture(scope="module")
def home(untrained: Home) -> Home:
    """The same with two runs, one of them killed in each stage and resumed; its base has moved."""
    killed = subprocess.run(
        [
            *(sys.executable, "-c", KILLED_IN_EACH_STAGE, str(untrained.cut)),
            *untrained.training(untrained.cut),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * GIVE_UP_S,
    )
    assert killed.returncode == 0, killed.stderr[-3000:]
    assert (untrained.cut / "stage1/scorer.json").exists()
    assert not (untrained.cut / "final").exists()
    for out in (untrained.cut, untrained.whole):
        done = untrained.call(*untrained.training(out))
        assert done.exit_code == 0, done.output[-3000:]
    untrained.base = untrained.base.rename(untrained.folder / "moved")
    return untrained


def lines(folder: Path, stage: str) -> list[dict[str, float]]:
    """The log of a stage without what the clock says."""
    text = (folder / f"{stage}.log.jsonl").read_text()
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in text.splitlines()
    ]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_run_that_was_killed_goes_on_as_one_left_alone(home: Home, stage: str) -> None:
    whole = lines(home.whole, stage)
    assert [line["step"] for line in whole] == list(range(NUM_STEPS))
    assert lines(home.cut, stage) == whole
    losses = [line["loss"] for line in whole]
    assert all(loss is not None and math.isfinite(loss) for loss in losses)
    assert len(set(losses)) == NUM_STEPS
    assert sum("validation" in line for line in whole) == 2


def test_both_runs_end_with_the_same_model(home: Home) -> None:
    for name in ("stage1", "final"):
        assert checkpoint_version(home.cut / name) == checkpoint_version(home.whole / name)


def test_it_was_trained_in_the_precision_of_the_recipe(home: Home) -> None:
    base = json.loads((home.cut / "run.json").read_text())["recipe"]["base"]
    assert (base["dtype"], base["quantization"]) == ("bfloat16", "nf4")
    assert (base["second_dtype"], base["second_quantization"]) == ("bfloat16", "none")
    assert base["checkpointing"]


def test_all_that_is_to_be_trained_has_moved(home: Home) -> None:
    trained = load_file(home.cut / "stage1/adapter/adapter_model.safetensors")
    assert all(each.isfinite().all() for each in trained.values())
    begun = load_file(home.base / "model.safetensors")
    tower = "vision_model."
    before = {name.partition(tower)[2]: each for name, each in begun.items() if tower in name}
    after = {name.partition(tower)[2]: each for name, each in trained.items() if tower in name}
    assert after.keys() == before.keys()
    matrices = [name for name, each in after.items() if each.ndim > 1]
    assert not any(torch.equal(after[name], before[name]) for name in matrices)
    adapter = [each for name, each in trained.items() if "lora_B" in name]
    assert adapter
    assert all(each.abs().max() > 0 for each in adapter), "they begin at zero"
    first, final = (read_preference_tokens(home.cut / name) for name in ("stage1", "final"))
    assert final.isfinite().all()
    assert not torch.equal(first, final)


def test_it_is_evaluated_with_the_base_where_it_lies_now(home: Home) -> None:
    asked = ["evaluate", home.cut / "final", "--no-baselines", "--no-cold-start", "--json"]
    gone = home.call(*asked)
    assert gone.exit_code != 0
    assert "name the place where it lies now (setting base)" in " ".join(gone.output.split())
    more = ["--against", f"stage 1={home.cut / 'stage1'}", "--batch-users", 2]
    result = home.call(*asked, *more, "--no-signatures", "--threads", 1, base=home.base)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["model_version"] == checkpoint_version(home.cut / "final")
    top1 = report["unseen"]["top1"]
    assert top1["n_users"] == NUM_JUDGES
    assert 0 <= top1["low"] <= top1["value"] <= top1["high"] <= 1
    assert report["seen"]["top1"]["n_users"] > 0
    (first,) = report["ablations"]
    assert (first["name"], first["top1"]["n_users"]) == ("stage 1", NUM_JUDGES)


def candidates(home: Home) -> list[Candidate]:
    """Three images as a product sends them, by their bytes."""
    with home.store() as store:
        liked = [each.choice.liked for each in store.read("s1-u00000").choices[:3]]
        return [Candidate(str(n), "a fish", image=store.image(sha)) for n, sha in enumerate(liked)]


def test_a_server_ranks_as_one_does_without_a_server(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_BASE", str(home.base))
    asked = candidates(home)
    with home.serving() as client:
        ann, bob = (client.rank(f"s2-u0000{n}", asked) for n in range(2))
    for ranking in (ann, bob):
        assert ranking.model_version == checkpoint_version(home.cut / "final")
        assert ranking.num_references == 2
        scores = scores_of(ranking)
        assert all(0 < score < 1 for score in scores.values())
        assert len(set(scores.values())) == len(asked)
        ordered = [each.score for each in ranking.candidates]
        assert ordered == sorted(ordered, reverse=True)
    assert scores_of(ann) != scores_of(bob)
    files = [tmp_path / each.id for each in asked]
    for file, each in zip(files, asked, strict=True):
        file.write_bytes(each.image)
    local = home.call(
        "rank", "--local", "--json", "--prompt", "a fish", "--user", "s2-u00000", *files
    )
    assert local.exit_code == 0, local.output
    here = {Path(each["id"]).name: each["score"] for each in json.loads(local.stdout)["candidates"]}
    assert here == pytest.approx(scores_of(ann), abs=1e-6)


def scores_of(ranking: Ranking) -> dict[str, float | None]:
    return {each.id: each.score for each in ranking.candidates}


def test_everybody_has_a_signature_and_neighbours(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_BASE", str(home.base))
    done = home.call("backfill", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["num_up_to_date"], summary["num_failed"]) == (NUM_LEARNERS + NUM_JUDGES, 0)
    with home.store() as store:
        users = list(store.user_ids())
        kept = SignatureStore(store.database)
        stored = [kept.get(user, summary["model_version"]) for user in users]
    vectors = np.stack([each.vector for each in stored if each is not None])
    assert len(vectors) == len(users)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert len(np.unique(vectors.round(6), axis=0)) == len(users)
    found = home.call("similar", "--user", users[0], "-k", 3, "--json")
    assert found.exit_code == 0, found.output
    neighbours = json.loads(found.stdout)["users"]
    products = vectors[1:] @ vectors[0]
    nearest = np.argsort(-products)[:3]
    assert [each["user_id"] for each in neighbours] == [users[1 + at] for at in nearest]
    assert [each["similarity"] for each in neighbours] == pytest.approx(products[nearest], abs=1e-6)


def test_image_tokens_are_kept_beyond_a_run(home: Home) -> None:
    assert list((home.folder / "tokens").rglob("*.safetensors"))
