"""The demonstration from beginning to end, with few people and a small checkpoint."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.demo.new_population import NewPopulation
from training.demo.story import play
from training.fitting.adapting.tuning import Tuning

FEW = NewPopulation(
    num_people=(6, 5), num_choices=8, num_prompts=10, num_users=3, tuning=Tuning(num_steps=2)
)
NUM_RATERS, NUM_PROMPTS, NUM_IMAGES = 4, 12, 6
"""Raters, prompts, and images of each prompt: enough that three of the raters are ranked for."""


@pytest.fixture
def checkpoint(save_small, monkeypatch) -> Path:
    """Without signatures; the settings name it."""
    folder = save_small("small")
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(folder))
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    all_rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(all_rows[0]))
        writer.writeheader()
        writer.writerows(all_rows)


@pytest.fixture
def ratings(tmp_path) -> Path:
    """A folder of ratings, as `recsys import ratings` takes it."""
    folder = tmp_path / "ratings"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    items = [
        {"image_id": f"i{prompt}-{number}", "prompt": f"a fox of kind {prompt}"}
        for prompt in range(NUM_PROMPTS)
        for number in range(NUM_IMAGES)
    ]
    for item in items:
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{item['image_id']}.png")
    write_rows(folder / "items.csv", items)
    write_rows(
        folder / "ratings.csv",
        (
            {"user_id": f"r{user}", "image_id": item["image_id"], "rating_1to5": rating}
            for user in range(NUM_RATERS)
            for item, rating in zip(items, rng.integers(1, 6, len(items)), strict=True)
        ),
    )
    return folder


@pytest.mark.slow
def test_without_data_a_new_population_is_drawn_and_adapted_to(
    checkpoint, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("training.demo.people.NUM_USERS", 12)
    monkeypatch.setattr("training.demo.story.NewPopulation", lambda: FEW)
    play(None, tmp_path / "out" / "demo.png")
    out = capsys.readouterr().out
    assert "The same 8 images, ranked for three users" in out
    assert "3 preference tokens alone are trained on 6 users" in out
    assert "gained, points (95 % interval)" in out
    assert "Adapting the model to these users is left out" not in out
    assert (tmp_path / "out" / "demo.png").stat().st_size > 0


@pytest.mark.slow
def test_with_ratings_nothing_is_adapted_and_the_command_is_named(
    checkpoint, ratings, tmp_path, capsys
) -> None:
    play(ratings, tmp_path / "out" / "demo.png")
    out = capsys.readouterr().out
    assert "Adapting the model to these users is left out" in out
    assert "new population" not in out
    assert f"adapt {checkpoint} --out {tmp_path / 'out' / 'adapted'}" in out
