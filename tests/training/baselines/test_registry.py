"""What every baseline with public weights keeps to, whatever it is made of."""

import functools
import shutil

import numpy as np
import pytest

from recsys.errors import CheckpointRefused
from training.baselines.registry import WEIGHTED, WeightsMissing
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
def load(weights, images, geometry):
    """Load by name, from the small weights or from another folder."""

    def load(name, folder=None):
        loader = WEIGHTED[name]
        if name in PERSONAL:
            loader = functools.partial(loader, geometry=geometry)
        return loader(folder or weights / name, images=images)

    return load


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


@pytest.mark.parametrize(("name", "file"), [(n, f) for n in NAMES for f in FILES[n]])
def test_a_missing_file_is_named(name, file, load, weights, tmp_path):
    folder = tmp_path / name
    shutil.copytree(weights / name, folder)
    if name == "viper":
        (tmp_path / "idefics2").symlink_to(weights / "idefics2")
    (folder / file).unlink()

    with pytest.raises(WeightsMissing) as raised:
        load(name, folder)

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
        load(name, folder)
