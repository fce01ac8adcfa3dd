"""The whole road at toy size: world -> storage -> base -> two stages -> checkpoint -> figures."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from recsys.image_tokens.cache import ImageTokenCache
from recsys.image_tokens.folder import TokenFolder
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer, Reference
from recsys.scorer.token_version import token_version
from recsys.scorer.trained_on import read_trained_on
from recsys.signatures.files import has_signature, load_signature_readers
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from storage.images import stored_among
from storage.trainings import TrainingStore
from training.data.splits import SplitRule
from training.evaluation.evaluate import evaluate
from training.evaluation.report import write_report
from training.evaluation.results import Results, as_json
from training.evaluation.tables import main_figures
from training.evaluation.tables.registry import TABLES
from training.fitting.pretraining.pretrain import pretrain
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.pretraining.tiny_base import TinyShape
from training.fitting.recipes.recipe import Base, Recipe
from training.fitting.recipes.tiny import tiny
from training.fitting.stages import Training
from training.world.truth import read_truth

QUIET = Console(quiet=True)
KEYS = IdentityKeys.of(["a key for the tests"])
SHAPE = TinyShape(
    image_px=16,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    num_latents=2,
    width=32,
    layers=2,
    heads=2,
    mlp_width=32,
    vocabulary=500,
)


def toy_pretraining() -> PretrainRecipe:
    whole = PretrainRecipe(shape=SHAPE, num_prompts=20, images_per_prompt=2)
    sizes = {"interleaved_pairs": 8, "num_references": 2, "few_references": 1, "num_pairs": 2}
    return replace(
        whole,
        captions=replace(whole.captions, num_steps=3),
        caption_batch=4,
        interleaved=replace(whole.interleaved, num_steps=3),
        num_preference_tokens=3,
        rules=replace(whole.rules, num_sets=20, num_tastes=200),
        **sizes,
    )


def toy_recipe() -> Recipe:
    whole = tiny()
    first = replace(whole.first, plan=replace(whole.first.plan, num_steps=3), num_users=2)
    second = replace(whole.second, plan=replace(whole.second.plan, num_steps=3), num_users=2)
    return replace(
        whole,
        base=Base(geometry=SHAPE.geometry),
        split=SplitRule(validation_users=0.2, held_prompts=0.25),
        first=first,
        second=second,
        scorer=replace(whole.scorer, num_references=2, num_preference_tokens=3),
        signature=replace(whole.signature, weight=1.0),
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, draw_world, open_store) -> Path:
    """A folder with a world in storage, a base and a trained checkpoint."""
    folder = draw_world(
        tmp_path_factory.mktemp("road"), {3: 12, 4: 5}, num_choices=8, num_prompts=16
    )
    base = pretrain(toy_pretraining(), folder / "pretrain", console=QUIET)
    with open_store(folder) as store:
        learn(store, base, folder / "run")
    return folder


@pytest.fixture
def store(road: Path, open_store) -> Iterator[HistoryStore]:
    """The storage of that world."""
    with open_store(road) as store:
        yield store


@pytest.fixture
def empty(tmp_path: Path, open_store) -> Iterator[HistoryStore]:
    """A storage without anybody."""
    with open_store(tmp_path) as store:
        yield store


def learn(store: HistoryStore, base: Path, folder: Path, **changes) -> Path:
    asked = {"recipe": toy_recipe(), "users": [f"s3-u{n:05d}" for n in range(12)], **changes}
    return Training(base=base, store=store, folder=folder, console=QUIET, **asked).run()


def with_adapter(folder: Path) -> PreferenceScorer:
    return load_scorer(folder, merges_adapter=False)


def test_the_second_stage_moves_the_preference_tokens_alone(road) -> None:
    first, final = (with_adapter(road / "run" / name) for name in ("stage1", "final"))
    before, after = dict(first.named_parameters()), dict(final.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"preference_tokens"}
    assert first.model_version != final.model_version


def test_the_first_stage_trains_adapter_and_preference_tokens(road) -> None:
    trained = dict(with_adapter(road / "run/stage1").named_parameters())
    assert any(p.abs().sum() > 0 for n, p in trained.items() if "lora_B" in n)


def test_a_run_says_whom_it_learned_from_to_who_has_the_key(road, store) -> None:
    here = str((road / "run").resolve())  # other tests record theirs in the same database
    (run,) = [run for run in TrainingStore(store.database).all() if run.folder == here]
    assert run.model_version == load_scorer(road / "run/final").model_version
    for name in ("", "stage1", "final"):
        folder = Path(run.folder) / name
        record = read_trained_on(folder, KEYS)
        held = [record.holds(f"s3-u{n:05d}") for n in range(17)]
        assert sum(held[:12]) > 6
        assert not any(held[12:])
        assert not read_trained_on(folder).can_tell


def test_who_lacks_the_key_is_told_that_the_figures_may_flatter(road, store) -> None:
    store.keys = IdentityKeys.of(["another key for the tests"])
    without = [table.name for table in TABLES]
    results = evaluate(road / "run/final", store, most_users=2, without=without)
    assert any(f"identity key {KEYS.current.key_id}" in note for note in results.notes)


def test_a_run_says_how_to_repeat_it(road) -> None:
    run = json.loads((road / "run/run.json").read_text())
    assert run["recipe"]["name"] == "tiny"
    assert 0 < run["num_users"] <= 12
    assert len(run["data"]["train"]) == 64
    assert {"torch", "transformers"} <= set(run["packages"])


def test_the_same_seed_gives_the_same_checkpoint(road, store, tmp_path) -> None:
    base = pretrain(toy_pretraining(), tmp_path / "pretrain", console=QUIET)
    again = learn(store, base, tmp_path / "run")
    assert load_scorer(again).model_version == load_scorer(road / "run/final").model_version


def test_a_temperature_was_fitted_on_validation_users(road) -> None:
    first, final = (load_scorer(road / "run" / name) for name in ("stage1", "final"))
    assert first.config.temperature == 1.0
    assert final.config.temperature != 1.0


@pytest.mark.parametrize("readout", ["scores", "attention", "both"])
def test_the_final_checkpoint_reads_signatures(road, readout) -> None:
    assert not has_signature(road / "run/stage1")
    final = road / "run/final"
    readers = load_signature_readers(final, load_scorer(final))
    assert readers.served == "both"
    reader = readers.by_readout[readout]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    signature = reader.read([Reference(*images, "a fish")])
    assert signature.shape == (reader.dimension,)
    assert np.linalg.norm(signature) == pytest.approx(1, abs=1e-6)
    if readout == "scores":
        other = reader.read([Reference(*images.flip(0), "a fish")])
        assert np.abs(signature - other).max() > 1e-5, "likes and dislikes change places"


def test_the_second_stage_has_the_objective_and_the_first_has_not(road) -> None:
    records = [
        json.loads(line) for line in (road / "run/stage2.log.jsonl").read_text().splitlines()
    ]
    figures = [each["split_half"] for each in records]
    assert len(figures) == 3
    assert min(figures) >= 0, "a step in which too few have references enough costs nothing"
    assert max(figures) > 0
    first = (road / "run/stage1.log.jsonl").read_text()
    assert "split_half" not in first


def test_a_stage_1_of_the_same_choices_saves_training_it_again(road, store, tmp_path) -> None:
    base = road / "pretrain/base"
    again = learn(store, base, tmp_path / "run", stage1=road / "run/stage1")
    assert not (tmp_path / "run/stage1").exists()
    assert load_scorer(again).model_version == load_scorer(road / "run/final").model_version


def test_a_stage_1_that_does_not_fit_is_refused(road, store, tmp_path) -> None:
    base, stage1 = road / "pretrain/base", road / "run/stage1"
    shorter = replace(toy_recipe().scorer, num_preference_tokens=1)
    others = [f"s3-u{n:05d}" for n in range(11)]
    for changes, message in [
        ({"users": others}, "must have learned from the same choices"),
        ({"stage1": tmp_path / "nothing"}, "must have learned from the same choices"),
        ({"stage1": road / "run/final"}, "is what a run ended with: give the checkpoint stage1"),
        ({"recipe": replace(toy_recipe(), scorer=shorter)}, r"shape \(1, 32\), has \(3, 32\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            learn(store, base, tmp_path / "run", **{"stage1": stage1, **changes})


def test_what_signatures_cannot_be_made_of_is_refused_before_training(
    road, store, tmp_path
) -> None:
    whole = toy_recipe()
    base = road / "pretrain/base"
    long = replace(whole.scorer, num_references=8)
    short = replace(whole, scorer=long, second=replace(whole.second, num_pairs=3))
    with pytest.raises(ValueError, match=r"second\.num_pairs is 3 beside 8 references"):
        learn(store, base, tmp_path / "run", recipe=short)
    with pytest.raises(ValueError, match="at least 4 users with 4 pairs apart, got 3 such"):
        learn(store, base, tmp_path / "run", users=["s3-u00000", "s3-u00001", "s3-u00002"])
    assert not list(tmp_path.glob("run/stage1*"))


@pytest.fixture(scope="module")
def results(road: Path, open_store) -> Results:
    with open_store(road) as store:
        return evaluate(
            road / "run/final",
            store,
            against={"stage 1": road / "run/stage1"},
            truth=read_truth(road / "truth.npz"),
        )


@pytest.fixture(scope="module")
def figures(results: Results) -> dict:
    return as_json(results)


def test_whoever_was_learned_from_is_not_among_the_unseen(figures) -> None:
    assert figures["unseen"]["top1"]["n_users"] == 5
    assert 0 < figures["seen"]["top1"]["n_users"] <= 12


def test_every_block_of_the_report_is_there(figures) -> None:
    for path in [
        "unseen.top1",
        "unseen.opposed",
        "unseen.shuffled_history",
        "unseen.personal",
        "unseen.no_prompt",
        "unseen.swapped_labels",
        "unseen.exchanged_labels",
        "seen.top1",
        "seen_minus_unseen",
        "order.spread",
        "order.averaged_gain",
        "order.disliked_first.top1",
        "order.random_pair_order.ours_minus",
        "world.known_taste",
        "world.best_possible",
        "world.average_taste",
        "world.gap_closed",
        "by_references.0",
        "by_references.2",
        "world.by_references.8",
        "baselines.random.top1",
        "baselines.linear.opposed",
        "baselines.user_knn.ours_minus",
    ]:
        figure = figures
        for name in path.split("."):
            figure = figure[name]
        assert set(figure) == {"value", "low", "high", "n_users", "n_pairs"}, path
    assert {each["what"] for each in figures["missing"]} >= {"pick_score", "viper", "idefics2"}
    assert figures["ablations"][0]["name"] == "stage 1"


def test_personal_is_the_difference_of_both_histories(figures) -> None:
    unseen = figures["unseen"]
    assert unseen["personal"]["value"] == pytest.approx(
        unseen["top1"]["value"] - unseen["shuffled_history"]["value"], abs=0.2
    )


def test_bounds_are_in_order_of_what_they_know(figures) -> None:
    for name in ("known_taste", "best_possible", "average_taste"):
        figure = figures["world"][name]
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_the_report_is_written_for_programs_and_people(results, figures, tmp_path) -> None:
    write_report(results, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["unseen"]["top1"]["value"] == figures["unseen"]["top1"]["value"]
    page = (tmp_path / "report.html").read_text()
    assert results.model_version in page
    assert page.count("<svg") >= 5


def test_no_usable_user_is_said_in_a_sentence(road, empty) -> None:
    with pytest.raises(ValueError, match="at least two users"):
        evaluate(road / "run/final", empty)


def test_nobody_to_learn_from_is_said_in_a_sentence(road, empty, tmp_path) -> None:
    training = Training(toy_recipe(), road / "pretrain/base", empty, tmp_path, console=QUIET)
    with pytest.raises(ValueError, match="somebody to learn from, got 0 users"):
        training.run()


def test_a_state_of_another_recipe_is_refused(road, store) -> None:
    other = replace(toy_recipe(), contrastive_weight=0.0)
    users = [f"s3-u{n:05d}" for n in range(12)]
    base = road / "pretrain/base"
    training = Training(other, base, store, road / "run", console=QUIET, users=users)
    with pytest.raises(ValueError, match="belongs to another run"):
        training.run()


def test_stage_2_and_evaluations_encode_an_image_once(
    road: Path, store: HistoryStore, tmp_path: Path, monkeypatch
) -> None:
    """The large recipe's way: images pass through the model in each step of stage 1."""
    encoded, encode = [0], PreferenceScorer._encode
    opened = []

    def counting(self, images):
        encoded[0] += len(images)
        return encode(self, images)

    def image_tokens(scorer: PreferenceScorer) -> ImageTokenCache:
        folder = TokenFolder(tmp_path / "tokens", token_version(scorer), max_bytes=2**26)
        stored = partial(stored_among, store.database)
        opened.append(ImageTokenCache(2**20, folder=folder, stored=stored))
        return opened[-1]

    def again(name: str, **changes) -> torch.Tensor:
        recipe = replace(toy_recipe(), encodes_once=False)
        base, stage1 = road / "pretrain" / "base", road / "run" / "stage1"
        final = learn(store, base, tmp_path / name, recipe=recipe, stage1=stage1, **changes)
        for tokens in opened:
            tokens.flush()
        return load_scorer(final).preference_tokens

    monkeypatch.setattr(PreferenceScorer, "_encode", counting)
    plain = again("plain")
    num_plain, encoded[0] = encoded[0], 0
    first = again("first", image_tokens=image_tokens)
    assert 0 < encoded[0] < num_plain
    assert encoded[0] <= len(list((tmp_path / "tokens").rglob("*.safetensors")))
    assert torch.allclose(first, plain, atol=1e-6)
    encoded[0] = 0
    assert torch.equal(again("second", image_tokens=image_tokens), first)
    assert encoded[0] == 0

    ask = partial(
        evaluate,
        tmp_path / "first" / "final",
        store,
        without={each.name for each in TABLES} - {"unseen"},
        image_tokens=image_tokens,
    )
    before = ask().of(main_figures.TABLE)
    opened[-1].flush()
    encoded[0] = 0
    assert ask().of(main_figures.TABLE) == before
    assert encoded[0] == 0
