"""The checkpoint that travels with the package: whole, small, and personal."""

from pathlib import Path

import pytest

import recsys
from recsys.scorer.checkpoint import DEFAULT_CHECKPOINT, load_scorer
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.evaluation.evaluate import evaluate
from training.evaluation.tables import controls, main_figures
from training.evaluation.tables.registry import TABLES
from training.fitting.card import count_parameters
from training.world.creation import create_world

FOLDER = Path(recsys.__file__).parent / "checkpoints" / DEFAULT_CHECKPOINT


def test_it_is_at_most_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 10_000_000


def test_its_model_version_is_the_one_that_stored_signatures_carry() -> None:
    version = "d6818fc9cc485d86b9f639cc6da439a7700902d14a25404f0feea1ee89295a62"
    assert load_scorer().model_version == version


def test_its_card_speaks_of_it() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text()
    assert load_scorer().model_version in card
    assert f"{count_parameters(FOLDER) / 1e6:.2f} M" in card


def test_it_names_no_path_of_the_machine_it_was_made_on() -> None:
    for path in FOLDER.rglob("*.json"):
        if path.name != "tokenizer.json":
            assert '"/' not in path.read_text(), path


@pytest.mark.slow
def test_a_persons_own_history_is_worth_something(tmp_path) -> None:
    """People and images of a world that no training saw; the card has the figure at full size."""
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}"))
    create_world(store, num_users=60, seed=77, truth_path=tmp_path / "truth.npz", num_choices=16)
    without = {each.name for each in TABLES} - {"unseen", "controls"}
    results = evaluate(DEFAULT_CHECKPOINT, store, without=without)
    database.dispose()
    main, personal = results.of(main_figures.TABLE), results.of(controls.TABLE).personal
    assert main.top1.low > 0.5
    assert main.opposed.low > 0.5
    assert personal.low > 0.0
    assert personal.value > 0.04
