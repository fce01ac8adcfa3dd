"""A small scorer and its checkpoint, small worlds in storage, a file with Pick-a-Pic's columns."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from recsys.runtime import Runtime
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import save_scorer
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.template import Template, TemplateConfig
from recsys.settings import Settings
from storage.histories import HistoryStore
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.world.creation import create_world

SHAPE = TinyShape(
    image_px=16, vision_width=16, vision_layers=1, num_latents=2, width=32, layers=2, mlp_width=32
)


@pytest.fixture(scope="session")
def make_scorer() -> Callable[..., PreferenceScorer]:
    """Given fields of its config: a frozen scorer, in evaluation; `adapt` may change its base."""
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    image = tokenizer.convert_tokens_to_ids("<image>")

    def make(
        *, seed: int = 0, geometry: Any = SHAPE.geometry, adapt: Any = None, **config: Any
    ) -> PreferenceScorer:
        torch.manual_seed(seed)
        model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
        backbone = Idefics2Backbone(model if adapt is None else adapt(model))
        template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
        made = PreferenceScorer(
            backbone, template, geometry=geometry, config=ScorerConfig(**config)
        )
        return made.eval().requires_grad_(False)

    return make


@pytest.fixture
def save_small(make_scorer, tmp_path: Path) -> Callable[..., Path]:
    """Given a name and fields of its config: a checkpoint's folder; its base is in `base`."""
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    base = tmp_path / "base"

    def save(name: str, *, seed: int = 0, **config: int) -> Path:
        scorer = make_scorer(seed=seed, num_references=2, num_preference_tokens=3, **config)
        scorer.backbone.model.save_pretrained(base)
        save_scorer(scorer, tmp_path / name, base=BaseModel(str(base)), tokenizer=tokenizer)
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def open_store() -> Callable[[Path], AbstractContextManager[HistoryStore]]:
    """Given a folder: the storage in it, which is made if there is none."""

    @contextmanager
    def opened(folder: Path) -> Iterator[HistoryStore]:
        settings = Settings(
            database_url=f"sqlite:///{folder / 'recsys.db'}",
            blob_url=f"file://{folder / 'blobs'}",
            identity_key="a key for the tests",
        )
        with Runtime(settings, creates=True) as runtime:
            yield runtime.store

    return opened


@pytest.fixture(scope="session")
def draw_world(open_store: Callable[..., Any]) -> Callable[..., Path]:
    """Given a folder and the number of people by seed: they are in its storage, truth beside it."""

    def draw(folder: Path, num_users: Mapping[int, int], **values: int) -> Path:
        small = {"num_choices": 6, "num_prompts": 12, "images_per_prompt": 4, "size_px": 32}
        truth = folder / "truth.npz"
        with open_store(folder) as store:
            for seed, number in num_users.items():
                create_world(store, num_users=number, seed=seed, truth_path=truth, **small | values)
        return folder

    return draw


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass of a vision tower encodes, as they come."""
    counts: list[int] = []
    encode = Idefics2Backbone.image_tokens

    def counting(self, images, mask=None):
        counts.append(len(images))
        return encode(self, images, mask)

    monkeypatch.setattr(Idefics2Backbone, "image_tokens", counting)
    return counts


BEGIN_NS = 1_674_000_000_000_000_000


@pytest.fixture(scope="session")
def write_pickapic() -> Callable[..., None]:
    """Given a path, users and how often each chose: writes a Parquet file as it is published."""

    def write(
        path: Path,
        users: Sequence[int],
        num_rankings: int,
        *,
        fewer: Mapping[int, int] | None = None,
    ) -> None:
        rows = [
            ranking(place * 100 + number, user)
            for place, user in enumerate(users)
            for number in range((fewer or {}).get(user, num_rankings))
        ]
        types = {"created_at": pa.timestamp("ns"), "jpg_0": pa.binary(), "jpg_1": pa.binary()}
        columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
        pq.write_table(pa.table(columns), path)

    return write


def ranking(number: int, user: int) -> dict[str, object]:
    """A row with all of the published columns."""
    is_first = number % 2 == 0
    return {
        "are_different": True,
        "best_image_uid": f"uid{2 * number + (not is_first)}",
        "caption": f"a fox number {number}",
        "created_at": BEGIN_NS + number,
        "has_label": number % 10 != 9,  # the test split has rows without a label
        "image_0_uid": f"uid{2 * number}",
        "image_0_url": "https://text-to-image-human-preferences.s3.us-east-2.amazonaws.com/gone",
        "image_1_uid": f"uid{2 * number + 1}",
        "image_1_url": "https://text-to-image-human-preferences.s3.us-east-2.amazonaws.com/gone",
        "jpg_0": jpeg(2 * number),
        "jpg_1": jpeg(2 * number + 1),
        "label_0": float(is_first),
        "label_1": float(not is_first),
        "model_0": "dreamlike-art/dreamlike-photoreal-2.0",
        "model_1": "stabilityai/stable-diffusion-2-1",
        "ranking_id": number,
        "user_id": user,
        "num_example_per_prompt": 1,
        "__index_level_0__": number,
    }


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
