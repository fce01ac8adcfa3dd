"""A checkpoint of each family of base models, from a choice to a ranking and to neighbours."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recsys.scorer.registry import FAMILIES
from recsys.signatures.definition import Projection
from recsys.signatures.files import Probe, write_signature

OVER = FAMILIES
NUM_PROBES = 4


def write_probes(folder: Path, pictures: list[bytes]) -> None:
    """A signature part that reads the scores of random pictures."""
    rng = np.random.default_rng(3)
    projection = Projection(
        np.full(NUM_PROBES, 0.5),
        np.full(NUM_PROBES, 0.01),
        rng.normal(size=(NUM_PROBES, 3)),
        heads=(),
    )
    probes = [Probe(picture, "a hat") for picture in pictures]
    write_signature(folder, probes, {"scores": projection}, num_orders=1)


@pytest.fixture
def checkpoint(save_checkpoint, picture, tmp_path, monkeypatch) -> Path:
    pictures = [picture(100 + number) for number in range(NUM_PROBES)]
    folder = save_checkpoint(
        tmp_path / "small", write_more=partial(write_probes, pictures=pictures)
    )
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(folder))
    monkeypatch.setenv("RECSYS_IMAGE_TOKENS_FOLDER", str(tmp_path / "tokens"))
    return folder


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 50, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def answer(run, *arguments: str) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_choices_ranking_signatures_and_neighbours(run, home, picture, checkpoint) -> None:
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (home / name).write_bytes(picture(seed))
    (home / "d.jpg").write_bytes(jpeg(9))
    shown = ["a.png", "b.png", "c.png", "d.jpg"]
    cold = answer(run, "rank", "--local", "--user", "ann", *shown)
    assert cold["personalization"] == "COLD_START"
    for user, liked, other in [("ann", "a.png", "d.jpg"), ("bob", "d.jpg", "c.png")]:
        for _ in range(2):
            run("choose", "--user", user, "--liked", liked, "--passed-over", other)
    warm = answer(run, "rank", "--local", "--user", "ann", *shown)
    assert warm["personalization"] == "WARM"
    assert {each["id"] for each in warm["candidates"]} == set(shown)
    scores = [each["score"] for each in warm["candidates"]]
    assert len(set(scores)) == len(shown)
    assert scores != [each["score"] for each in cold["candidates"]]
    again = answer(run, "rank", "--local", "--user", "ann", *shown)  # of kept image tokens
    exact = {each["id"]: each["score"] for each in warm["candidates"]}
    assert {each["id"]: each["score"] for each in again["candidates"]} == pytest.approx(exact)
    half = answer(run, "rank", "--local", "--user", "ann", "--dtype", "bfloat16", *shown)
    rounded = {each["id"]: each["score"] for each in half["candidates"]}
    assert rounded == pytest.approx(exact, abs=0.03)
    assert run("backfill").exit_code == 0
    similar = answer(run, "similar", "--user", "ann")
    assert [each["user_id"] for each in similar["users"]] == ["bob"]
