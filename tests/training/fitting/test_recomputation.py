"""Activations computed again in the backward pass: the same gradients, and less is kept."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.history import Pair
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.attention import record_preference_attention
from recsys.scorer.idefics2 import ADAPTER_TARGETS, VISION_TOWER
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.packing import attention_mask
from recsys.signatures.definition import Projection
from recsys.signatures.probes import all_heads
from training.data.batches import batches
from training.data.samples import PairTable
from training.fitting.assembly import first_parameters, train_only
from training.fitting.objective import step_loss
from training.fitting.split_half import Finding, SplitHalf
from training.predictors.predictor import CandidateRow

LORA = LoraShape(rank=2, alpha=4, dropout=0.1, targets=ADAPTER_TARGETS, whole=(VISION_TOWER,))
NUM_READINGS = 2 * 4 * 3  # layers, heads and preference tokens of the scorer
PROBES = [CandidateRow(90, "a fish"), CandidateRow(91, "")]


PAIRS = {
    f"u{user}": tuple(Pair(20 * user + 2 * n, 20 * user + 2 * n + 1, "a fish") for n in range(8))
    for user in range(3)
}
TABLE = PairTable(PAIRS, tuple(map(str, range(100))))
DRAWN = batches(TABLE, num_users=3, num_pairs=3, num_references=4, fewer_references=0.0, seed=1)


class Pictures:
    """An encoder of random images, with gradients as in stage 1."""

    bad: frozenset[int] = frozenset()

    def __init__(self, scorer: PreferenceScorer) -> None:
        self.scorer = scorer

    def prepare(self, upcoming) -> None: ...

    def read(self, samples, at):
        return samples, self.encode

    def encode(self, rows) -> Tensor:
        images = [
            torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(row)) for row in rows
        ]
        return self.scorer.image_features(images)

    @torch.no_grad()
    def rows(self, rows) -> Tensor:
        return self.encode(rows)

    def find_bad(self, rows) -> set[int]:
        return set()

    def figures(self) -> dict[str, float]:
        return {}

    def of(self, scorer: PreferenceScorer) -> "Pictures":
        return Pictures(scorer)


@pytest.fixture(params=["float32", "bfloat16"])
def make(make_scorer, request) -> Callable[[bool], PreferenceScorer]:
    """A scorer as stage 1 trains it, with or without its activations kept."""

    def made(keeps: bool) -> PreferenceScorer:
        scorer = make_scorer(
            seed=2,
            adapt=lambda model: add_adapter(model.to(getattr(torch, request.param)), LORA),
            num_references=4,
            num_preference_tokens=3,
        )
        train_only(scorer, first_parameters(scorer))
        with torch.no_grad():
            for name, parameter in scorer.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        if not keeps:
            scorer.backbone.keep_no_activations()
        return scorer.train()

    return made


def all_objectives(scorer: PreferenceScorer) -> tuple[Tensor, SplitHalf]:
    """L_all and the split-half objective of three users, as a step of training has them."""
    width = len(PROBES) * NUM_READINGS
    matrix = np.random.default_rng(3).normal(size=(width, 4))
    projection = Projection(np.zeros(width), np.ones(width), matrix, all_heads(scorer))
    objective = SplitHalf([projection])
    finding = Finding(scorer, objective, [PROBES], weight=1.0, seed=5)
    loss, figures = step_loss(scorer, DRAWN, Pictures(scorer), finding=finding)(0, 0)
    assert figures["split_half"] > 0
    return loss, objective


def test_gradients_of_all_objectives_are_the_same(make) -> None:
    gradients = []
    for keeps in (True, False):
        scorer = make(keeps)
        torch.manual_seed(7)
        loss, objective = all_objectives(scorer)
        loss.backward()
        trained = [*first_parameters(scorer).items(), ("log_scale", objective.log_scale)]
        gradients.append({name: parameter.grad for name, parameter in trained})
    kept, again = gradients
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        assert gradient.abs().sum() > 0 or "k_proj.bias" in name, name
        torch.testing.assert_close(again[name], gradient, rtol=1e-6, atol=1e-9, msg=name)


def kept_bytes(scorer: PreferenceScorer, compute: Callable[[], Tensor]) -> int:
    """Bytes that a pass keeps for the backward pass, weights aside."""
    weights = {parameter.data_ptr() for parameter in scorer.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        compute()
    return sum(seen.values())


def decoder_pass(scorer: PreferenceScorer) -> Callable[[], Tensor]:
    backbone = scorer.backbone
    embeddings = torch.randn(2, 64, backbone.hidden_size, dtype=backbone.dtype).requires_grad_()
    shared = torch.zeros(2, 64, dtype=torch.long)
    mask = attention_mask(shared, shared, dtype=backbone.dtype)
    positions = torch.arange(64).expand(2, -1)
    return lambda: backbone.decode(embeddings, mask=mask, positions=positions)


def image_pass(scorer: PreferenceScorer) -> Callable[[], Tensor]:
    images = torch.rand(8, 3, 16, 16)
    return lambda: scorer.backbone.image_tokens(images)


def connector_pass(scorer: PreferenceScorer) -> Callable[[], Tensor]:
    """Modality projection and resampler alone, which the library's own switch leaves out."""
    connector = scorer.backbone.model.get_base_model().model.connector
    width = connector.modality_projection.gate_proj.in_features
    patches = torch.randn(8, 32, width, dtype=scorer.backbone.dtype).requires_grad_()
    seen = torch.ones(8, 32, dtype=torch.bool)

    def compute() -> Tensor:
        with torch.autocast("cpu", scorer.backbone.dtype, enabled=False):
            return connector(patches, attention_mask=seen)

    return compute


@pytest.mark.parametrize("pass_of", [decoder_pass, image_pass, connector_pass])
def test_less_is_kept(make, pass_of) -> None:
    kept, again = (kept_bytes(scorer, pass_of(scorer)) for scorer in (make(True), make(False)))
    assert again < kept / 4


def test_a_record_holds_nothing_of_what_is_computed_again(make) -> None:
    scorer = make(False)
    compute = decoder_pass(scorer)
    with record_preference_attention(3) as record:
        compute()
    before = list(record.layers)
    (record.stacked().sum() * 1e-3).backward()
    assert len(record.layers) == len(before) == 2
    assert all(one is other for one, other in zip(record.layers, before, strict=True))


def test_in_evaluation_a_prefix_keeps_its_keys_and_values(make) -> None:
    prefixes = []
    for keeps in (True, False):
        scorer = make(keeps).eval()
        features = Pictures(scorer).rows([0, 1])
        prefixes.append(scorer.prefix_of(["a fish"], features).key_values.layers)
        scorer.train()
        scorer.prefix_of(["a fish"], features)
    for one, other in zip(*prefixes, strict=True):
        assert torch.equal(torch.stack(one), torch.stack(other))
