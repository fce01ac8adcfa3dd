"""The ways of adapting that are tried beside P_v, at toy size."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from recsys.coldstart.latent_classes import LatentClasses
from recsys.coldstart.population import ColdStart
from recsys.history import Pair
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.prefix import ReferenceTokens
from tests.benchmarks.adapting_ways import __main__ as command
from tests.benchmarks.adapting_ways import measuring
from tests.benchmarks.adapting_ways.class_tokens import ClassScorer
from tests.benchmarks.adapting_ways.key_value_prefix import KeyValuePrefix
from tests.benchmarks.adapting_ways.measuring import Measured
from tests.benchmarks.adapting_ways.tables import (
    ALONE_GAIN,
    BLENDED_GAIN,
    CLOSED,
    figures,
    markdown,
)
from tests.benchmarks.adapting_ways.ways import ADAPTED, UNADAPTED, WAYS, Given
from tests.benchmarks.toy_checkpoint import NUM_TOKENS, SHAPE
from training.data.samples import PairTable, Sample, pack_samples
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.learning import NUM_USERS
from training.fitting.adapting.tuning import Tuning
from training.fitting.run_state import read_tensors

NUM_IMAGES, T, D, K = 40, SHAPE.num_latents, SHAPE.width, NUM_TOKENS
NUM_STEPS = 60
BY_NAME = {way.name: way for way in (UNADAPTED, ADAPTED, *WAYS)}
FEATURES = torch.randn(NUM_IMAGES, T, D, generator=torch.Generator().manual_seed(0))
PROMPTS = ("two fish", "two fish", "a fish", "a fish")


@pytest.fixture
def scorer(checkpoint: Path) -> PreferenceScorer:
    """A frozen one, new for each test."""
    return load_scorer(checkpoint)


@pytest.fixture
def cold_start() -> ColdStart:
    """Of three classes with tastes of their own."""
    rng = np.random.default_rng(0)
    classes = LatentClasses(
        rng.normal(size=(3, 4)), np.array([0.5, 0.3, 0.2]), np.ones(3), np.ones(3)
    )
    return ColdStart(np.zeros(T * D), rng.normal(size=(T * D, 4)) / 4, classes, np.zeros((3, 3)))


def read(rows) -> torch.Tensor:
    return FEATURES[list(rows)]


def margins(scorer: PreferenceScorer, rows=(0, 1, 2, 3), liked_first=None) -> torch.Tensor:
    """Of four candidates behind references of these rows, as served: cached, then continued."""
    prompts = ["a fish"] * (len(rows) // 2)
    prefix = scorer.prefix_of(prompts, read(rows), liked_first=liked_first)
    return scorer.margins_of(prefix, PROMPTS, read(range(10, 14)))


def packed_margins(scorer: PreferenceScorer, preference=None) -> torch.Tensor:
    """The same in one pass, as in training."""
    references = (Pair(0, 1, "a fish"), Pair(2, 3, "a fish"))
    pairs = (Pair(10, 11, PROMPTS[0]), Pair(12, 13, PROMPTS[2]))
    samples = [Sample(references, pairs)]
    packed, order = pack_samples(scorer.template, samples, num_preference_tokens=K)
    before = None if preference is None else preference(samples)
    logits = scorer.logits(packed, read(order.tolist()), preference=before)[0].double()
    return logits[:, 0] - logits[:, 1]


@pytest.mark.parametrize("name", [way.name for way in WAYS])
def test_a_way_begins_as_the_checkpoint_is(name, scorer, checkpoint, cold_start) -> None:
    start = BY_NAME[name].begin(Given(scorer, lambda: cold_start, read), BY_NAME[name].rank)
    torch.testing.assert_close(margins(start.scorer), margins(load_scorer(checkpoint)))
    own = dict(start.scorer.named_parameters())
    assert all(own[each] is parameter for each, parameter in start.parameters.items())


def test_a_class_weighs_as_much_as_what_is_read_tells_of_it(scorer, cold_start) -> None:
    mixing = ClassScorer(scorer, cold_start)
    torch.nn.init.normal_(mixing.class_tokens)
    classes, told = cold_start.classes, cold_start.features(FEATURES)
    for rows in ((), (0, 1), (0, 1, 2, 3)):
        differences = told[list(rows[0::2])] - told[list(rows[1::2])]
        shares = torch.tensor(classes.belonging(differences), dtype=torch.float32)
        by_hand = sum(p * each for p, each in zip(shares, mixing.class_tokens, strict=True))
        torch.testing.assert_close(mixing.mixed(read(rows)), by_hand)
        prompts = ["a fish"] * (len(rows) // 2)
        (plain,) = scorer.prefixes_of([ReferenceTokens(prompts, read(rows), preference=by_hand)])
        expected = scorer.margins_of(plain, PROMPTS, read(range(10, 14)))
        torch.testing.assert_close(margins(mixing, rows), expected)
    assert classes.belonging(np.zeros((0, 4))) == pytest.approx(classes.shares)
    assert not torch.allclose(mixing.mixed(read((0, 1))), mixing.mixed(read((1, 0))))


def test_classes_are_told_by_labels_and_not_by_places(scorer, cold_start) -> None:
    mixing = ClassScorer(scorer, cold_start)
    torch.nn.init.normal_(mixing.class_tokens)
    turned = mixing.mixed(read((1, 0, 2, 3)), [False, True])
    torch.testing.assert_close(turned, mixing.mixed(read((0, 1, 2, 3))))


def test_classes_are_trained_as_they_are_served(scorer, cold_start) -> None:
    mixing = ClassScorer(scorer, cold_start)
    torch.nn.init.normal_(mixing.class_tokens)
    packed = packed_margins(mixing, mixing.in_training(read))
    torch.testing.assert_close(packed, margins(mixing), atol=1e-5, rtol=1e-4)
    packed.sum().backward()
    assert bool((mixing.class_tokens.grad.flatten(1).norm(dim=1) > 0).all())


def test_a_prefix_is_trained_as_it_is_served(scorer, checkpoint) -> None:
    prefix = KeyValuePrefix(scorer, rank=2)
    torch.nn.init.normal_(prefix.right)
    packed = packed_margins(scorer)
    torch.testing.assert_close(packed, margins(scorer), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(margins(scorer), margins(load_scorer(checkpoint)), atol=1e-3)
    packed.sum().backward()
    for parameter in (prefix.left, prefix.right):
        assert bool((parameter.grad.flatten(1).norm(dim=1) > 0).all()), "in each layer"


def test_lora_is_on_attention_of_the_decoder_alone(scorer, checkpoint, cold_start) -> None:
    way = BY_NAME["lora"]
    start = way.begin(Given(scorer, lambda: cold_start, read), way.rank)
    names = set(start.parameters) - {"preference_tokens"}
    assert len(names) == 2 * 4 * SHAPE.layers
    assert all("text_model" in name and "self_attn" in name for name in names)
    assert {min(start.parameters[name].shape) for name in names} == {2}
    with torch.no_grad():
        for name in names:
            start.parameters[name].normal_()
    assert not torch.allclose(margins(scorer), margins(load_scorer(checkpoint)), atol=1e-3)


def test_few_references_are_drawn_more_often() -> None:
    rng = np.random.default_rng(0)
    pairs = {
        f"user {user}": tuple(
            Pair(*map(int, rng.choice(400, 2, replace=False)), "a fish", choice=number)
            for number in range(30)
        )
        for user in range(40)
    }
    table = PairTable(pairs, tuple(f"{row:064x}" for row in range(400)))

    def counted(name: str) -> Counter[int]:
        drawn = BY_NAME[name].draws(table, num_references=9, seed=0)
        steps = [drawn.draw(step, 0) for step in range(NUM_STEPS)]
        assert {len(samples) for samples in steps} == {NUM_USERS}
        return Counter(len(sample.references) for samples in steps for sample in samples)

    total = NUM_STEPS * NUM_USERS
    for name, few in (("adapted", 5 / 10), ("few", 0.75 + 0.25 * 5 / 10)):
        counts = counted(name)
        assert sorted(counts) == list(range(10))
        assert sum(counts[n] for n in range(5)) / total == pytest.approx(few, abs=0.04)


def told(way: str, alone: float, blended: float, num_users: int = 20) -> Measured:
    """The same share right for everybody, but for one who is always wrong."""

    def by_count(right: float) -> dict[str, dict[str, float]]:
        users = {f"u{user}": right if user else 0.0 for user in range(num_users)}
        return {"0": users, "4": users, "8": users}

    return Measured(way, f"what {way} does", 1234, by_count(alone), by_count(blended))


def test_differences_are_paired_by_person() -> None:
    measured = [told("model", 0.5, 0.6), told("adapted", 0.55, 0.6), told("lora", 0.75, 0.8)]
    users = measured[0].alone["0"]
    bounds = {
        name: dict.fromkeys(("0", "4", "8"), dict.fromkeys(users, value))
        for name, value in (("average", 0.0), ("best", 0.95))
    }
    found = figures(measured, bounds)
    gain = found[ALONE_GAIN]["lora"]
    assert list(gain) == ["0", "4", "8", "mean of 4 and 8"]
    value, low, high = gain["4"]
    assert value == pytest.approx(0.2 * 19 / 20)
    assert 0.15 < low < value < high <= 0.2 + 1e-9
    assert found[BLENDED_GAIN]["adapted"]["0"] == pytest.approx((0.0, 0.0, 0.0))
    assert found[BLENDED_GAIN]["lora"]["mean of 4 and 8"][0] == pytest.approx(0.2 * 19 / 20)
    assert found[CLOSED]["lora"]["8"][0] == pytest.approx(0.8)
    lines = markdown(found, measured).splitlines()
    assert "| lora | what lora does | 1,234 |" in lines
    assert sum(line.startswith("| lora |") for line in lines) == 7
    assert "| adapted | +0.0 (+0.0 to +0.0) | +0.0 (+0.0 to +0.0) | +0.0 (+0.0 to +0.0) |" in [
        line.rsplit(" +0.0 (+0.0 to +0.0) |", 1)[0] for line in lines
    ]


@pytest.fixture(scope="module")
def toy(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command on a toy population: what it prints."""
    out = tmp_path_factory.mktemp("toy")

    def run(*options: str) -> str:
        asked = ["--toy", "--checkpoint", str(checkpoint), "--out", str(out), *options]
        result = CliRunner().invoke(command.main, asked, catch_exceptions=False)
        return result.stdout

    run.out = out
    return run


@pytest.mark.slow
def test_every_way_is_measured_once(toy, checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    text = toy()
    (folder,) = (toy.out / "toy").glob("*/ways/*")
    assert (folder / "table.md").read_text() == text
    for way in BY_NAME.values():
        kept = json.loads((folder / f"{way.key}.json").read_text())
        assert kept["way"] == way.name
        assert list(kept["alone"]) == list(kept["blended"]) == ["0", "1", "2"]
        assert len(kept["alone"]["0"]) == command.TOY_ASKED
        assert text.count(f"| {way.name} |") >= 3
    best = read_tensors(folder / ADAPTED.key / "adapt.best.safetensors")[0]
    as_shipped = adapted_by_the_product(toy.out, checkpoint)
    torch.testing.assert_close(best["weight.preference_tokens"], as_shipped, atol=1e-5, rtol=1e-4)

    lora, again = folder / f"{BY_NAME['lora'].key}.json", []
    before = lora.read_text()
    lora.unlink()
    monkeypatch.setattr(measuring, "learn", counting(measuring.learn, again))
    assert toy() == text, "asked anew, it answers alike"
    assert lora.read_text() == before
    assert again == ["lora"]


def adapted_by_the_product(out: Path, checkpoint: Path) -> torch.Tensor:
    """P_v as `recsys adapt` trains them on the same people."""
    population = command.toy_population(101, num_references=2, out=out)
    with population.opened() as runtime:
        adaptation = Adaptation(
            checkpoint,
            runtime.store,
            out / "adapted",
            Console(quiet=True),
            tuning=Tuning(num_steps=command.TOY_STEPS),
            users=population.people(runtime, population.seeds[0]),
            writes_anyway=True,
            blends=False,
        )
        return load_scorer(adaptation.run().folder).preference_tokens


def counting(learn: Callable[..., None], again: list[str]) -> Callable[..., None]:
    """`learn`, noting the folder of each run whose training is done already."""

    def counted(*arguments, run, **options) -> None:
        state = run.folder / "adapt.state.safetensors"
        before = state.stat().st_mtime_ns
        learn(*arguments, run=run, **options)
        assert state.stat().st_mtime_ns == before, "no step is done twice"
        again.append(run.folder.name.split("-")[0])

    return counted
