"""The model card's rows and counts."""

from dataclasses import replace

import torch
from safetensors.torch import save_file

from recsys.scorer.checkpoint import find_checkpoint
from training.fitting.card import LICENCE, base_history, count_parameters, figure_rows
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.pretraining.record import FILE, read_pretraining, write_pretraining


def test_rows_say_value_interval_and_meaning() -> None:
    top1 = {"value": 0.71234, "low": 0.69, "high": 0.73, "n_users": 2, "n_pairs": 9}
    figures = {"model_version": "abc", "unseen": {"top1": top1, "unheard_of": top1}, "world": None}
    assert figure_rows(figures) == (
        "| unseen.top1 | 71.2% | 69.0% to 73.0% | "
        "one liked image against one disliked, people never learned from |"
    )


def test_parameters_of_all_weight_files_are_counted(tmp_path) -> None:
    (tmp_path / "base").mkdir()
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "base/x.safetensors")
    save_file({"c": torch.zeros(2)}, tmp_path / "y.safetensors")
    assert count_parameters(tmp_path) == 12 + 5 + 2


def test_the_shipped_card_names_the_licence_of_the_weights() -> None:
    card = (find_checkpoint("tiny") / "MODEL_CARD.md").read_text()
    assert f"## Licence\n\n{LICENCE}\n" in card


def test_a_base_is_described_by_the_recipe_that_it_was_made_by(tmp_path, make_scorer) -> None:
    usual = PretrainRecipe()
    changed = replace(usual, seed=5, interleaved=replace(usual.interleaved, num_steps=77))
    base = tmp_path / "base"
    model = make_scorer().backbone.model
    model.save_pretrained(base)
    assert base_history(read_pretraining(base)) == "how it was pretrained is not known"
    write_pretraining(changed, base, start=None)
    record = read_pretraining(base)
    assert record is not None
    assert record["recipe"]["seed"] == 5
    said = base_history(record)
    assert "captions (8000 steps" in said
    assert "(77 steps)" in said
    write_pretraining(changed, base, start="models/theirs")
    said = base_history(read_pretraining(base))
    assert said.startswith("begun with that of `theirs`, and pretrained on interleaved")
    assert "captions" not in said
    assert not (base / FILE).exists(), "what is in the folder decides what runs are bound to"


def test_another_base_in_the_same_place_is_not_described(tmp_path, make_scorer) -> None:
    base = tmp_path / "base"
    model = make_scorer().backbone.model
    model.save_pretrained(base)
    write_pretraining(PretrainRecipe(), base, start=None)
    next(model.parameters()).add_(1)
    model.save_pretrained(base)
    assert read_pretraining(base) is None
