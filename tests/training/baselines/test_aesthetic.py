"""LAION's aesthetic head against a plain chain of matrices."""

import pytest
import torch
from transformers import CLIPModel

from recsys.errors import CheckpointRefused
from training.baselines._pixels import CLIP_SCALE, crop_middle
from training.baselines.aesthetic import HEAD_FILE, load_aesthetic


@torch.no_grad()
def test_is_the_chain_of_matrices_on_the_unit_vector(weights, images, candidates):
    folder = weights / "laion_aesthetic"
    state = torch.load(folder / HEAD_FILE, weights_only=True)
    model = CLIPModel.from_pretrained(folder).eval()

    scores = load_aesthetic(folder, images=images).scores("ann", [], candidates)

    for score, one in zip(scores, candidates, strict=True):
        pixels = CLIP_SCALE(crop_middle(images.images[one.row], 16))[None]
        seen = model.vision_model(pixel_values=pixels).pooler_output
        x = model.visual_projection(seen)[0]
        x = x / x.norm()
        for place in (0, 2, 4, 6, 7):
            x = state[f"layers.{place}.weight"] @ x + state[f"layers.{place}.bias"]
        assert score == pytest.approx(x.item(), rel=1e-4, abs=1e-5)


def test_a_head_for_another_width_is_refused(weights, images, tmp_path):
    for path in (weights / "laion_aesthetic").iterdir():
        (tmp_path / path.name).symlink_to(path)
    state = torch.load(tmp_path / HEAD_FILE, weights_only=True)
    (tmp_path / HEAD_FILE).unlink()
    torch.save({**state, "layers.0.weight": torch.zeros(1024, 768)}, tmp_path / HEAD_FILE)

    with pytest.raises(CheckpointRefused, match="must fit the architecture"):
        load_aesthetic(tmp_path, images=images)
