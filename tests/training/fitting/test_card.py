"""The model card's rows and counts."""

import torch
from safetensors.torch import save_file

from recsys.scorer.checkpoint import find_checkpoint
from training.fitting.card import LICENCE, count_parameters, figure_rows


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
