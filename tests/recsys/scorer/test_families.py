"""Another family of base models: one module's worth of code and one line of the registry."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recsys.errors import CheckpointRefused
from recsys.images.preprocess import ImageGeometry
from recsys.scorer._key_values import Behind, KeyValues, Recording
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.attention import record_preference_attention, show
from recsys.scorer.backbone import Backbone, Dimensions, Family, Tower
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.scorer.config import ScorerConfig
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.packing import pack
from recsys.scorer.registry import FAMILIES, family_of
from recsys.scorer.template import ImageMarkup, Template, TemplateConfig

WIDTH, HEADS, PATCH = 16, 2, 8


class ToyLayer(nn.Module):
    """Self-attention of a few heads and nothing else."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )

    def forward(self, hidden: Tensor, mask: Tensor, cache: Recording | Behind | None) -> Tensor:
        query, key, value = (
            projection(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if cache is not None:
            key, value = cache.update(key, value, self.number)
        scale = 1 / math.sqrt(query.shape[-1])
        show(self.number, query, key, mask, scale)
        weights = (query @ key.mT * scale + mask).softmax(dim=-1)
        return hidden + self.o_proj((weights @ value).transpose(1, 2).flatten(2))


class ToyDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ToyLayer(number) for number in range(2))

    def forward(
        self, hidden: Tensor, mask: Tensor, positions: Tensor, cache: Recording | Behind | None
    ) -> SimpleNamespace:
        turns = positions[..., None] / 10 ** torch.linspace(0, 2, WIDTH)
        hidden = hidden + turns.sin()
        for layer in self.layers:
            hidden = layer(hidden, mask, cache)
        return SimpleNamespace(last_hidden_state=hidden)


class ToyModel(nn.Module):
    """One token an image, the mean of its patches; its words share the output matrix."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.patches = nn.Linear(3 * PATCH * PATCH, WIDTH)
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.decoder = ToyDecoder()
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)


class ToyBackbone(nn.Module):
    num_image_tokens = 1
    num_layers = 2
    num_heads = HEADS
    position_bytes = 2 * 2 * WIDTH * 4
    hidden_size = WIDTH
    image_markup = ImageMarkup("<image>", 1)
    dtype = torch.float32

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def toy(self) -> Any:
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def device(self) -> torch.device:
        return self.toy.words.weight.device

    @property
    def decoder(self) -> nn.Module:
        return self.toy.decoder

    @property
    def image_modules(self) -> tuple[nn.Module, ...]:
        return (self.toy.patches,)

    @property
    def layers(self) -> nn.ModuleList:
        return self.toy.decoder.layers

    @property
    def output_matrix(self) -> nn.Linear:
        return self.toy.head

    def keep_no_activations(self) -> None: ...

    def image_tokens(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        cut = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (N, 3, h, w, P, P)
        flat = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return self.toy.patches(flat).mean(dim=1, keepdim=True)

    def embed(self, ids: Tensor) -> Tensor:
        return self.toy.words(ids)

    def decode(
        self,
        embeddings: Tensor,
        *,
        mask: Tensor,
        positions: Tensor,
        prefix: KeyValues | None = None,
    ) -> Tensor:
        cache = None if prefix is None else Behind(prefix)
        return self.toy.decoder(embeddings, mask, positions, cache).last_hidden_state

    def decode_prefix(self, embeddings: Tensor, *, mask: Tensor, positions: Tensor) -> KeyValues:
        cache = Recording()
        self.toy.decoder(embeddings, mask, positions, cache)
        return KeyValues(tuple(cache.layers))

    def token_logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return hidden.float() @ self.toy.head.weight[ids].float().T


def load_toy(source: str | Path, **options: Any) -> ToyModel:
    values = json.loads((Path(source) / "config.json").read_text())
    model = ToyModel(values["vocabulary"])
    model.load_state_dict(load_file(Path(source) / "model.safetensors"))
    return model.eval()


def sizes(values: Mapping[str, Any]) -> Dimensions:
    tower = Tower(WIDTH, WIDTH, 2)
    return Dimensions(tower, tower, PATCH, image_places=1, vocabulary=values["vocabulary"])


TOY = Family(
    load=load_toy,
    wrap=ToyBackbone,
    build_on_meta=lambda values: ToyModel(values["vocabulary"]),
    dimensions=sizes,
    with_layers=lambda values, *, text, vision: dict(values),
    adapter_targets=r".*decoder.*(q_proj|v_proj)",
    decoder_targets=r".*decoder.*(q_proj|v_proj)",
    vision_tower="patches",
    parts={"vision": "patches", "text model": "decoder"},
    never_quantized=("words", "head"),
    published={"toy/one": {"model_type": "toy", "vocabulary": 9}},
)


@pytest.fixture
def toy_base(tokenizer, tmp_path, monkeypatch) -> Path:
    """A base of the toy family on disk, and the family in the registry."""
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    torch.manual_seed(3)
    folder = tmp_path / "toy"
    folder.mkdir()
    values = {"model_type": "toy", "vocabulary": len(tokenizer)}
    (folder / "config.json").write_text(json.dumps(values))
    save_file(ToyModel(len(tokenizer)).state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def toy_scorer(toy_base, tokenizer) -> PreferenceScorer:
    """A scorer on it, with an adapter that does something."""
    family = family_of(toy_base)
    model = family.load(toy_base)
    adapted = add_adapter(model, LoraShape(rank=2), family_targets=family.adapter_targets)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    backbone = family.wrap(adapted)
    return PreferenceScorer(
        backbone,
        Template(tokenizer, TemplateConfig(), image=backbone.image_markup),
        geometry=ImageGeometry(square_px=16),
        config=ScorerConfig(num_references=4, num_preference_tokens=3, max_packed_candidates=4),
    ).eval()


def test_a_family_is_what_the_scorer_asks_for(toy_scorer) -> None:
    assert isinstance(toy_scorer.backbone, Backbone)


def test_a_scorer_of_another_family_is_saved_loaded_and_scores(
    toy_scorer,
    toy_base,
    tokenizer,
    tmp_path,
    references: list[Reference],
    candidates: list[CandidateImage],
) -> None:
    before = toy_scorer.score(toy_scorer.prefix(references), candidates)
    folder = tmp_path / "checkpoint"
    version = save_scorer(
        toy_scorer, folder, base=BaseModel("base"), tokenizer=tokenizer, base_files=toy_base
    )
    loaded = load_scorer(folder, merges_adapter=False)
    assert isinstance(loaded.backbone, ToyBackbone)
    assert loaded.model_version == version
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    after = loaded.score(loaded.prefix(references), candidates)
    assert torch.equal(before, after)
    merged = load_scorer(folder)
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(merged.score(merged.prefix(references), candidates), before)
    assert len(set(after.tolist())) == len(candidates)


def test_a_packed_pass_of_another_family_is_the_pass_behind_a_prefix(
    toy_scorer, references: list[Reference], candidates: list[CandidateImage]
) -> None:
    scorer = toy_scorer
    packed = pack(
        [scorer.template.prefix([each.prompt for each in references])],
        [[scorer.template.candidate(each.prompt) for each in candidates]],
        first_position=3,
    )
    shown = [image for each in references for image in (each.liked, each.disliked)]
    features = scorer.image_features([*shown, *(each.image for each in candidates)])
    with torch.no_grad(), record_preference_attention(3) as record:
        whole = scorer.logits(packed, features)[0]
    prompts = [each.prompt for each in candidates]
    shown = scorer.image_features([each.image for each in candidates])
    behind = scorer.candidate_logits_of(scorer.prefix(references), prompts, shown)
    assert torch.allclose(behind, whole, atol=1e-6)
    assert record.stacked().shape[:3] == (2, 1, HEADS)


def test_the_largest_prefix_of_another_family_is_counted(
    toy_scorer, references: list[Reference]
) -> None:
    long = [replace(each, prompt="a large house " * 50) for each in (references * 4)[:4]]
    assert toy_scorer.prefix(long).num_bytes == toy_scorer.max_prefix_bytes


def test_a_base_of_no_known_family_is_refused_by_name(toy_base) -> None:
    config = toy_base / "config.json"
    config.write_text(config.read_text().replace('"toy"', '"another"'))
    with pytest.raises(CheckpointRefused, match=r"must be one of idefics2, .*, toy, got another"):
        family_of(toy_base)


def test_an_adapter_needs_modules_to_stand_on(tokenizer) -> None:
    with pytest.raises(ValueError, match=r"lora\.targets"):
        add_adapter(ToyModel(len(tokenizer)), LoraShape())
