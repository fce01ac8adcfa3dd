"""Cross-validation of a checkpoint, on people with an image that cannot be read."""

import gc
import io
import json
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.utils.checkpoint import checkpoint as recomputation_checkpoint

from recsys.scorer import recomputation
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import read_trained_on
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from storage.records import Choice
from storage.trainings import TrainingStore
from training.data.samples import images_of
from training.fitting import fine_tune
from training.fitting.fine_tune import FineTuning, cross_validate_checkpoint
from training.fitting.sole_run import sole_run
from training.fitting.trainer import LossNotFinite

KEYS = IdentityKeys.of(["a key for the tests"])
NUM_USERS = 4
NUM_CHOICES = 20
SIDE_PX = 8


def pixels_of(number: int) -> np.ndarray:
    """An image of its own for each number."""
    return np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)


@pytest.fixture
def store(tmp_path: Path, as_png) -> HistoryStore:
    """Each user chose twenty times, from forty images that nobody else saw."""
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}"), KEYS)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for user in range(NUM_USERS):
        for number in range(NUM_CHOICES):
            first = 2 * (user * NUM_CHOICES + number)
            shown = [as_png(pixels_of(first + side)) for side in range(2)]
            liked, disliked = (facts.sha256 for facts, _ in shown)
            at = start + timedelta(hours=number)
            choice = Choice(f"u{user}", liked, (disliked,), f"prompt {number % 4}", at, "test")
            store.append(choice, {facts.sha256: (facts, data) for facts, data in shown})
    return store


@pytest.fixture
def spoiled(store: HistoryStore, as_png, tmp_path: Path) -> str:
    """SHA-256 of a stored image whose bytes are damaged."""
    facts, data = as_png(pixels_of(7))
    (path,) = (tmp_path / "blobs").rglob(facts.sha256)
    path.write_bytes(data[:20])
    return facts.sha256


def test_pairs_with_an_unreadable_image_are_left_out_and_counted(
    store: HistoryStore, spoiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: set[str] = set()
    judge = fine_tune.cross_validate

    def cross_validate(folds, learn, **options):
        for fold in folds:
            asked = [(*each.references, *each.pairs) for each in fold.samples.values()]
            for pairs in (*fold.learned.pairs.values(), *fold.known.pairs.values(), *asked):
                shown.update(fold.learned.images[row] for row in images_of(pairs))
        return judge(folds, learn, **options)

    monkeypatch.setattr(fine_tune, "cross_validate", cross_validate)
    console = Console(file=io.StringIO(), width=200)
    figures = cross_validate_checkpoint(
        "tiny",
        store,
        tmp_path / "runs",
        console=console,
        tuning=FineTuning(num_steps=1, num_users=2, num_pairs=2),
        num_user_folds=2,
        num_prompt_folds=2,
    )
    assert len(shown) == 2 * NUM_USERS * NUM_CHOICES - 2, "the pair's other image goes with it"
    assert spoiled not in shown
    assert "1 unreadable images left out" in console.file.getvalue()
    assert figures["fine_tuned"].top1.n_users == NUM_USERS
    (run,) = TrainingStore(store.database).all()
    record = read_trained_on(Path(run.folder), KEYS)
    assert Path(run.folder) == tmp_path / "runs"
    assert all(record.holds(f"u{user}") for user in range(NUM_USERS))
    assert not record.holds(f"u{NUM_USERS}")


def fine_tuned_in(
    dtype: torch.dtype,
    store: HistoryStore,
    folder: Path,
    *,
    loading: Callable[[], None] = lambda: None,
    loaded: Callable[[PreferenceScorer], None] = lambda scorer: None,
) -> None:
    """A step on each fold, of the shipped checkpoint in this type."""

    def load(checkpoint: str | Path):
        loading()
        scorer = load_scorer(checkpoint, merges_adapter=False)
        scorer.backbone.to(dtype)
        loaded(scorer)
        return scorer

    cross_validate_checkpoint(
        "tiny",
        store,
        folder,
        console=Console(quiet=True),
        tuning=FineTuning(num_steps=1, num_users=2, num_pairs=2),
        num_user_folds=2,
        num_prompt_folds=2,
        load=load,
    )


def test_a_folder_that_another_run_is_using_is_refused(store: HistoryStore, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    with sole_run(folder), pytest.raises(ValueError, match="another run is using"):
        fine_tuned_in(torch.float32, store, folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize(("dtype", "again"), [(torch.float32, False), (torch.bfloat16, True)])
def test_a_large_base_computes_its_activations_again(
    store: HistoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype, again
) -> None:
    computed = []

    def checkpoint(*inputs, **options):
        computed.append(1)
        return recomputation_checkpoint(*inputs, **options)

    monkeypatch.setattr(recomputation, "checkpoint", checkpoint)
    fine_tuned_in(dtype, store, tmp_path / "runs")
    assert bool(computed) is again


def test_a_fold_begins_when_the_weights_of_the_last_one_are_gone(
    store: HistoryStore, tmp_path: Path
) -> None:
    layers: list[weakref.ref[torch.nn.Module]] = []
    num_alive = []
    gc.disable()  # nothing goes by chance
    try:
        fine_tuned_in(
            torch.bfloat16,
            store,
            tmp_path / "runs",
            loading=lambda: num_alive.append(sum(layer() is not None for layer in layers)),
            loaded=lambda scorer: layers.append(weakref.ref(scorer.backbone.layers[0])),
        )
    finally:
        gc.enable()
    assert num_alive == [0, 1, 1, 1, 1], "the checkpoint as it was shipped"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_frozen_weight_that_holds_nan_is_named(
    store: HistoryStore, tmp_path: Path, dtype: torch.dtype
) -> None:
    spoilt = "text_model.layers.1.mlp.down_proj.base_layer.weight"

    def spoil(scorer: PreferenceScorer) -> None:
        weights = dict(scorer.named_parameters())
        (name,) = (name for name in weights if name.endswith(spoilt))
        weights[name].data.view(-1)[0] = float("nan")

    with pytest.raises(LossNotFinite, match=f"fine_tune begins with weights that .*{spoilt} "):
        fine_tuned_in(dtype, store, tmp_path / "runs", loaded=spoil)


def test_a_checkpoint_in_float16_is_fine_tuned_with_loss_scaling(
    store: HistoryStore, tmp_path: Path
) -> None:
    fine_tuned_in(torch.float16, store, tmp_path / "runs")
    logs = list((tmp_path / "runs").rglob("fine_tune.log.jsonl"))
    assert logs
    for path in logs:
        line = json.loads(path.read_text())
        assert line["loss_scale"] > 1
        assert line["gradient_norm"] > 0
