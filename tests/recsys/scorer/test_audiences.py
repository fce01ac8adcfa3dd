"""Several P_v on one copy of the weights: each scores as its checkpoint does by itself."""

import json
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recsys.errors import CheckpointRefused, NotFound
from recsys.scorer.audiences import load_audience
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.digests import model_version
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.prefix import ReferenceTokens
from recsys.scorer.token_version import token_version


@pytest.fixture
def served(small_checkpoint: Path) -> PreferenceScorer:
    return load_scorer(small_checkpoint)


@pytest.fixture
def audiences(served, small_checkpoint, small_adaptations) -> dict[str, PreferenceScorer]:
    return {
        name: load_audience(folder, served, served=small_checkpoint)
        for name, folder in small_adaptations.items()
    }


@pytest.fixture
def lone(small_adaptations) -> dict[str, PreferenceScorer]:
    """The same checkpoints, each loaded by itself."""
    return {name: load_scorer(folder) for name, folder in small_adaptations.items()}


def scores(scorer: PreferenceScorer, references, candidates) -> torch.Tensor:
    return scorer.score(scorer.prefix(references), candidates)


def test_an_audience_scores_as_its_checkpoint_does_and_unlike_others(
    served, audiences, lone, references, candidates
) -> None:
    read = references[:2]
    own = scores(served, read, candidates)
    for name, audience in audiences.items():
        assert torch.equal(scores(audience, read, candidates), scores(lone[name], read, candidates))
        assert audience.model_version == lone[name].model_version != served.model_version
        assert not torch.allclose(scores(audience, read, candidates), own, atol=1e-3)
    north, south = (scores(each, read, candidates) for each in audiences.values())
    assert not torch.allclose(north, south, atol=1e-3)
    assert torch.equal(scores(served, read, candidates), own), "the served one stays as it was"


def test_there_is_one_copy_of_the_weights(served, audiences) -> None:
    everything = [
        each
        for scorer in (served, *audiences.values())
        for each in chain(scorer.parameters(), scorer.buffers())
    ]
    storages = {each.untyped_storage().data_ptr() for each in everything}
    of_one = list(chain(served.parameters(), served.buffers()))
    assert len(storages) == len({id(each) for each in of_one}) + len(audiences)
    for audience in audiences.values():
        assert audience.preference_tokens.data_ptr() != served.preference_tokens.data_ptr()
        assert not any(each.requires_grad for each in audience.parameters())


def test_image_tokens_are_the_same_for_all(served, audiences) -> None:
    assert {token_version(each) for each in audiences.values()} == {token_version(served)}


def test_one_pass_with_users_of_all_audiences_gives_each_what_a_pass_alone_does(
    served, audiences, references, candidates
) -> None:
    north, south = audiences.values()
    asked = [
        (served, references[:2]),
        (north, references[:2]),
        (south, references[2:]),
        (south, []),
    ]
    users = [_encoded(scorer, read) for scorer, read in asked]
    own = [ReferenceTokens(user.prompts, user.features) for user in users]
    prompts, features = _shown(served, candidates)
    prefixes = served.prefixes_of(users)
    together = served.margins_of_each(prefixes, [prompts] * 4, [features] * 4)
    for (scorer, _), user, margins in zip(asked, own, together, strict=True):
        (alone,) = scorer.margins_of_each(scorer.prefixes_of([user]), [prompts], [features])
        assert torch.allclose(margins, alone, atol=1e-5)
    base_alone = served.margins_of_each(served.prefixes_of(own), [prompts] * 4, [features] * 4)
    differs = [
        not torch.allclose(one, other, atol=1e-3)
        for one, other in zip(together, base_alone, strict=True)
    ]
    assert differs == [False, True, True, True]


def _encoded(scorer: PreferenceScorer, read: list[Reference]) -> ReferenceTokens:
    images = [image for each in read for image in (each.liked, each.disliked)]
    return ReferenceTokens(
        [each.prompt for each in read],
        scorer.image_features(images),
        preference=scorer.preference_tokens,
    )


def _shown(
    scorer: PreferenceScorer, candidates: list[CandidateImage]
) -> tuple[list[str], torch.Tensor]:
    features = scorer.image_features([each.image for each in candidates])
    return [each.prompt for each in candidates], features


def test_in_half_precision_it_scores_as_its_checkpoint_does(
    small_checkpoint, small_adaptations, references, candidates
) -> None:
    served = load_scorer(small_checkpoint, dtype="bfloat16")
    folder = small_adaptations["north"]
    audience = load_audience(folder, served, served=small_checkpoint)
    alone = load_scorer(folder, dtype="bfloat16")
    read = references[:2]
    assert torch.equal(scores(audience, read, candidates), scores(alone, read, candidates))


@pytest.fixture
def changed(small_adaptations, tmp_path) -> Path:
    """An adaptation whose files the test may change."""
    return Path(shutil.copytree(small_adaptations["north"], tmp_path / "changed"))


def sign_again(checkpoint: Path, **changes: object) -> None:
    """As if somebody had made the checkpoint so."""
    path = checkpoint / "scorer.json"
    config = json.loads(path.read_text())
    for part, values in changes.items():
        config[part] |= values
    config["model_version"] = model_version(checkpoint, config)
    path.write_text(json.dumps(config))


def add_a_file(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "more.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: add_a_file(folder / "base"), "another base:"),
        (lambda folder: add_a_file(folder / "adapter"), "another adapter:"),
        (lambda folder: add_a_file(folder / "tokenizer"), "another tokenizer:"),
        (lambda folder: sign_again(folder, template={"max_prompt_tokens": 7}), "another template:"),
        (lambda folder: sign_again(folder, geometry={"longest_px": 999}), "another geometry:"),
        (
            lambda folder: sign_again(folder, scorer={"num_references": 1}),
            "another limit on what it reads:",
        ),
    ],
)
def test_what_stands_on_something_else_is_refused_by_name(
    served, small_checkpoint, changed, change, says
) -> None:
    change(changed)
    sign_again(changed)
    with pytest.raises(CheckpointRefused, match=says):
        load_audience(changed, served, served=small_checkpoint)


def test_what_was_changed_since_is_refused(served, small_checkpoint, changed) -> None:
    add_a_file(changed / "tokenizer")
    with pytest.raises(CheckpointRefused, match="a file was changed"):
        load_audience(changed, served, served=small_checkpoint)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (torch.full((3, 32), float("nan")), "must hold finite numbers"),
        (torch.zeros(2, 32), r"must have shape \(3, 32\)"),
    ],
)
def test_tokens_that_cannot_be_read_are_refused(
    served, small_checkpoint, changed, tokens, says
) -> None:
    save_file({"preference_tokens": tokens}, changed / "preference_tokens.safetensors")
    sign_again(changed)
    with pytest.raises(CheckpointRefused, match=says):
        load_audience(changed, served, served=small_checkpoint)


def test_a_folder_that_is_not_there_is_not_found(served, small_checkpoint, tmp_path) -> None:
    with pytest.raises(NotFound, match="there is no checkpoint"):
        load_audience(tmp_path / "none", served, served=small_checkpoint)


def test_the_served_checkpoint_itself_may_have_a_name(
    served, small_checkpoint, references, candidates
) -> None:
    same = load_audience(small_checkpoint, served, served=small_checkpoint)
    assert same.model_version == served.model_version
    read = references[:2]
    assert torch.equal(scores(same, read, candidates), scores(served, read, candidates))
