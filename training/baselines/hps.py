"""HPSv2: a CLIP-H tuned on people's rankings of generated images.  Wu et al., 2023."""

from pathlib import Path
from typing import Literal

from transformers import CLIPModel

from recsys.errors import CheckpointRefused
from training.baselines._clip_towers import ClipTowers, load_clip_tokenizer
from training.baselines._open_clip_names import config_of, to_transformers
from training.baselines._pixels import CLIP_SCALE, pad_to_square
from training.baselines._weights import fill, read_torch_file, require
from training.baselines.clip_score import PromptSimilarity
from training.data.features import ReadImage

Version = Literal["v2.0", "v2.1"]

FILES: dict[Version, str] = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}
_TOKENIZER_SOURCE = "the hub's laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def load_hps(
    folder: Path, *, images: ReadImage, device: str = "cpu", version: Version = "v2.1"
) -> PromptSimilarity:
    """HPSv2: cos(prompt, image), in [-1, 1].

    Images are shrunk whole and padded with black, not cropped.

    Args:
        folder: with the file of xswu/HPSv2 for `version`, and the tokenizer.json of OpenCLIP's
            ViT-H/14, which the authors take from their library.
        images: row -> RGB image.
        device: where the model goes.
        version: v2.0 and v2.1 give different numbers; the authors' benchmark reports v2.1.

    Raises:
        WeightsMissing: naming the file that is not there.
        CheckpointRefused: if a file is damaged or of another architecture.
    """
    path = folder / FILES[version]
    require(folder, [path.name], source="the hub's xswu/HPSv2")
    tokenizer = load_clip_tokenizer(folder, source=_TOKENIZER_SOURCE)
    model = _load_model(path).to(device)  # type: ignore[arg-type]
    side_px = int(model.config.vision_config.image_size)
    towers = ClipTowers(
        model,
        tokenizer,
        prepare=lambda image: CLIP_SCALE(pad_to_square(image, side_px)),
        images=images,
    )
    return PromptSimilarity("hps_v2", towers, scale=1.0)


def _load_model(path: Path) -> CLIPModel:
    state = read_torch_file(path, key="state_dict")
    try:
        config, renamed = config_of(state), to_transformers(state)
    except (KeyError, ValueError) as error:
        raise CheckpointRefused(f"{path} must hold OpenCLIP's ViT-H/14: {error!r}") from error
    model = CLIPModel(config)
    fill(model, renamed, path=path)
    return model
