"""What every baseline with public weights keeps to, whatever it is made of."""

import functools
import shutil

import numpy as np
import pytest

from recsys.errors import CheckpointRefused
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.known import KnownImage
from training.baselines import registry
from training.baselines.registry import WEIGHTED, WeightsMissing
from training.data.features import ImageFeatures, shared
from training.predictors.predictor import Predictor

PERSONAL = {"idefics2", "viper"}
BLIND_TO_PROMPTS = {"laion_aesthetic", "viper"}
FILES = {
    "clip_score": [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor_config.json",
    ],
    "pick_score": [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "preprocessor_config.json",
    ],
    "hps_v2": ["HPS_v2.1_compressed.pt", "tokenizer.json"],
    "laion_aesthetic": ["sac+logos+ava1-l14-linearMSE.pth", "model.safetensors"],
    "image_reward": ["ImageReward.pt", "med_config.json", "vocab.txt"],
    "idefics2": ["config.json", "model.safetensors", "tokenizer.json"],
    "viper": ["adapter_config.json", "adapter_model.safetensors"],
}
NAMES = sorted(WEIGHTED)


@pytest.fixture
def load(weights, images, geometry, monkeypatch):
    """Load by name, from the small weights or from another folder of all baselines' folders."""
    for name in PERSONAL:
        small = functools.partial(registry._SCORERS[name], geometry=geometry)
        monkeypatch.setitem(registry._SCORERS, name, small)

    def load(name, folder=weights, features=images.features):
        return registry.load_weighted(name, folder, images=images, features=features)

    return load


def known(images, tokens, row):
    """An image as the model takes it: its tokens where they are kept."""
    name = f"{row:064x}"
    kept = tokens.get(name)
    if kept is not None:
        return KnownImage(tokens=kept)
    return KnownImage(images(row), keep=functools.partial(tokens.put, name, since=0))


def test_names_every_baseline():
    expected = "clip_score hps_v2 idefics2 image_reward laion_aesthetic pick_score viper"

    assert expected.split() == NAMES
    assert sorted(FILES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_protocol(name, load, candidates, references):
    predictor = load(name)

    scores = predictor.scores("ann", references, candidates)

    assert isinstance(predictor, Predictor)
    assert predictor.name == name
    assert scores.shape == (4,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(set(scores.round(5))) == 4, "images cannot be told apart: the test would see nothing"
    assert predictor.scores("ann", references, []).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_depends_on_no_other_candidate(name, load, candidates, references):
    predictor = load(name)

    together = predictor.scores("ann", references, candidates)
    turned = predictor.scores("ann", references, candidates[::-1])
    alone = [predictor.scores("ann", references, [one])[0] for one in candidates]
    many = predictor.scores("ann", references, candidates * 9)

    np.testing.assert_allclose(turned[::-1], together, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(many, np.tile(together, 9), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_personal_read_references(name, load, candidates, references):
    predictor = load(name)

    with_them = predictor.scores("ann", references, candidates)
    without = predictor.scores("ann", [], candidates)
    other_user = predictor.scores("bob", references, candidates)

    assert np.allclose(with_them, without, rtol=1e-6) == (name not in PERSONAL)
    np.testing.assert_allclose(other_user, with_them, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_who_reads_prompts_and_who_does_not(name, load, candidates):
    predictor = load(name)
    same = [type(one)(one.row, "a red fish") for one in candidates]

    own = predictor.scores("ann", [], candidates)
    shared = predictor.scores("ann", [], same)

    assert np.allclose(own, shared, rtol=1e-6) == (name in BLIND_TO_PROMPTS)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_read_once(name, load, images, candidates, references):
    predictor = load(name)

    for _ in range(2):
        predictor.scores("ann", references, candidates)

    rows = {one.row for one in candidates}
    if name in PERSONAL:
        rows |= {row for pair in references for row in (pair.liked, pair.disliked)}
    assert sorted(images.reads) == sorted(rows)


def test_a_baseline_on_our_own_tower_takes_the_tokens_that_are_kept(
    load, images, candidates, references
):
    opened = []

    def opens(scorer):
        opened.append(ImageTokenCache(2**20, stored=lambda names: names))
        return opened[-1]

    tokens_of = shared(opens)

    def features(scorer):
        return ImageFeatures(scorer, functools.partial(known, images, tokens_of(scorer)))

    first = load("idefics2", features=features).scores("ann", references, candidates)
    read = len(images.reads)
    again = load("idefics2", features=features).scores("ann", references, candidates)
    load("viper", features=features)

    assert len(images.reads) == read
    np.testing.assert_array_equal(again, first)
    assert len(opened) == 2, "an adapter on the resampler changes image tokens"


@pytest.mark.parametrize(("name", "file"), [(n, f) for n in NAMES for f in FILES[n]])
def test_a_missing_file_is_named(name, file, load, weights, tmp_path):
    folder = tmp_path / name
    shutil.copytree(weights / name, folder)
    if name == "viper":
        (tmp_path / "idefics2").symlink_to(weights / "idefics2")
    (folder / file).unlink()

    with pytest.raises(WeightsMissing) as raised:
        load(name, tmp_path)

    assert str(folder / file) in str(raised.value)
    assert "copy from" in str(raised.value)


@pytest.mark.parametrize(("name", "file"), [(n, f) for n in NAMES for f in FILES[n]])
def test_a_damaged_file_is_refused(name, file, load, weights, tmp_path):
    folder = tmp_path / name
    shutil.copytree(weights / name, folder)
    if name == "viper":
        (tmp_path / "idefics2").symlink_to(weights / "idefics2")
    (folder / file).write_bytes(b'{"a": ')

    with pytest.raises(CheckpointRefused):
        load(name, tmp_path)
