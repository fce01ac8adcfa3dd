"""Bases that differ in one thing: made here, made elsewhere, or refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recsys.cli.main import cli
from training.claims.bases import BaseNotMade, Bases
from training.claims.design import CONTRASTED, DESIGN, TOY, UNCONTRASTED
from training.fitting.pretraining.pretrain import captions_state
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.recipes.overrides import override
from training.fitting.run_state import recipe_digest
from training.fitting.trainer import plan_identity, state_name


def pretrained(folder: Path, *changes: str) -> Path:
    """What `recsys pretrain` leaves, but for the weights."""
    recipe = override(PretrainRecipe(), changes)
    base = folder / "base"
    base.mkdir(parents=True, exist_ok=True)
    (base / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, base / "model.safetensors")
    (base / "tokenizer.json").write_text("{}")
    for plan, values in (
        (recipe.captions, recipe.caption_values()),
        (recipe.interleaved, recipe.to_json()),
    ):
        identity = plan_identity(plan, recipe_digest(values))
        save_file({"step": torch.tensor(1)}, folder / state_name(plan), {"identity": identity})
    return folder


def making(folder: Path, words: list[str]) -> None:
    """`recsys pretrain`, in no time."""
    assert words[:2] == ["pretrain", str(folder)]
    changes = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    pretrained(folder, *changes)


def test_a_base_that_was_made_elsewhere_by_the_same_recipe_is_taken(tmp_path: Path) -> None:
    bases = Bases(
        tmp_path / "bases",
        DESIGN,
        {CONTRASTED: pretrained(tmp_path / "given", *DESIGN.pretraining)},
    )
    assert bases.find(CONTRASTED).folder == tmp_path / "given" / "base"
    assert bases.find(UNCONTRASTED) is None


@pytest.mark.parametrize("change", ["contrastive_weight=0", "interleaved.num_steps=9"])
def test_a_base_that_another_recipe_made_is_refused(tmp_path: Path, change: str) -> None:
    given = pretrained(tmp_path / "given", *DESIGN.pretraining, change)
    with pytest.raises(ValueError, match=r"the base contrasted must be made as .* does now"):
        Bases(tmp_path / "bases", DESIGN, {CONTRASTED: given}).find(CONTRASTED)


def test_a_base_that_does_not_tell_how_it_was_made_is_refused(tmp_path: Path) -> None:
    """One that began with another's captions has no state of its own."""
    given = pretrained(tmp_path / "given", *DESIGN.pretraining)
    bases = Bases(tmp_path / "bases", DESIGN, {CONTRASTED: given})
    (given / captions_state(bases.recipe(CONTRASTED))).unlink()
    with pytest.raises(ValueError, match="does not tell by which"):
        bases.find(CONTRASTED)


def test_half_of_a_base_is_none(tmp_path: Path) -> None:
    """The tokenizer is written last."""
    folder = pretrained(tmp_path / "bases" / CONTRASTED, *DESIGN.pretraining)
    (folder / "base" / "tokenizer.json").unlink()
    assert Bases(tmp_path / "bases", DESIGN).find(CONTRASTED) is None
    with pytest.raises(ValueError, match="has no whole base"):
        Bases(tmp_path / "others", DESIGN, {CONTRASTED: folder}).find(CONTRASTED)


def test_captions_are_learned_once(tmp_path: Path) -> None:
    given = pretrained(tmp_path / "given", *DESIGN.pretraining)
    bases = Bases(tmp_path / "bases", DESIGN, {CONTRASTED: given})
    state = captions_state(bases.recipe(CONTRASTED))
    mine = tmp_path / "bases" / UNCONTRASTED / state
    lent = []

    def command(words: list[str]) -> None:
        lent.append(mine.read_bytes())
        making(tmp_path / "bases" / UNCONTRASTED, words)

    found = bases.make(UNCONTRASTED, command=command)
    assert lent == [(given / state).read_bytes()]
    assert found == bases.find(UNCONTRASTED)
    assert bases.make(UNCONTRASTED, command=lambda words: pytest.fail("it is there")) == found


def test_a_base_that_cannot_be_made_is_told_with_its_command(tmp_path: Path) -> None:
    def command(words: list[str]) -> None:
        cli.main([*words, "--no-such-option"], standalone_mode=False)

    with pytest.raises(BaseNotMade, match=r"recsys pretrain .* --set contrastive_weight=0"):
        Bases(tmp_path, DESIGN).make(UNCONTRASTED, command=command)
    with pytest.raises(BaseNotMade, match="made no base"):
        Bases(tmp_path, DESIGN).make(UNCONTRASTED, command=lambda words: None)


def test_the_command_has_all_that_makes_a_base(tmp_path: Path) -> None:
    told = Bases(tmp_path, TOY).making(UNCONTRASTED, folder=Path("bases"))
    assert told.startswith(
        "recsys pretrain bases/uncontrasted --from tiny --set num_preference_tokens=0"
    )
    assert told.endswith("--set num_pairs=2 --set contrastive_weight=0 --threads 1")
