"""The paper's two stages over the choices in storage: a base model becomes a preference scorer."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from recsys.images import ImageGeometry, decode
from recsys.scorer.adapter import add_adapter
from recsys.scorer.backbone import Backbone, load_model, load_tokenizer
from recsys.scorer.checkpoint import BaseModel, files_digest, save_scorer
from recsys.scorer.model import PreferenceScorer, preference_score
from recsys.scorer.template import Template
from storage.histories import HistoryStore
from training.fit import StepLoss, fit
from training.losses import preference_loss
from training.recipes import Recipe, Stage, recipe_digest
from training.samples import (
    Histories,
    Sample,
    draw_sample,
    pack_samples,
    read_histories,
    split_pairs,
)


def train(
    recipe: Recipe,
    base: Path,
    store: HistoryStore,
    folder: Path,
    *,
    geometry: ImageGeometry,
    console: Console,
) -> Path:
    """Run both stages, resuming whatever was begun, and save a checkpoint after each.

    Args:
        recipe: what to do.
        base: folder of the base model with its tokenizer.
        store: the choices of all users learned from.
        folder: receives states, logs, run.json and the checkpoints stage1/ and final/.
        geometry: how images are resized for the base.
        console: where progress is shown.

    Returns:
        The folder of the final checkpoint.

    Raises:
        ValueError: if no user has enough pairs for one reference and one target.
    """
    folder.mkdir(parents=True, exist_ok=True)
    histories = read_histories(store)
    users = _usable(histories)
    bound_to = _identity(recipe, base, histories)
    _write_run(recipe, folder, num_users=len(users), identity=bound_to)
    scorer = build_scorer(recipe, base, geometry=geometry)
    features = encode_images(scorer, store, histories.images, console=console)
    for stage, trained, name in (
        (recipe.first, _adapter_and_tokens(scorer), "stage1"),
        (recipe.second, {"preference_tokens": scorer.preference_tokens}, "final"),
    ):
        for parameter in scorer.parameters():
            parameter.requires_grad_(False)
        for parameter in trained.values():
            parameter.requires_grad_(True)
        step_loss = _stage_loss(scorer, histories, users, features, recipe, stage)
        fit(step_loss, trained, stage.plan, folder=folder, console=console, bound_to=bound_to)
        save_scorer(
            scorer,
            folder / name,
            base=BaseModel(source="base"),
            tokenizer=load_tokenizer(base),
            base_files=base,
        )
    return folder / "final"


def build_scorer(recipe: Recipe, base: Path, *, geometry: ImageGeometry) -> PreferenceScorer:
    """The recipe's scorer before training: base, fresh adapter, fresh preference tokens."""
    torch.manual_seed(recipe.first.plan.seed)
    backbone = Backbone(add_adapter(load_model(base), recipe.lora))
    template = Template(
        load_tokenizer(base), recipe.template, num_image_tokens=backbone.num_image_tokens
    )
    return PreferenceScorer(backbone, template, geometry=geometry, config=recipe.scorer)


@torch.no_grad()
def encode_images(
    scorer: PreferenceScorer,
    store: HistoryStore,
    images: Sequence[str],
    *,
    console: Console,
    batch: int = 128,
) -> Float[Tensor, "N T D"]:
    """Image tokens of stored images, in the order given; the frozen vision tower runs once."""
    starts = range(0, len(images), batch)
    features = []
    for start in track(starts, "encoding images", console=console):
        decoded = [decode(store.image(sha)).float() / 255 for sha in images[start : start + batch]]
        features.append(scorer.image_features(decoded))
    return torch.cat(features)


def _stage_loss(
    scorer: PreferenceScorer,
    histories: Histories,
    users: Sequence[str],
    features: Tensor,
    recipe: Recipe,
    stage: Stage,
) -> StepLoss:
    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([stage.plan.seed, 4, step])
        chosen = rng.choice(len(users), stage.num_users, replace=len(users) < stage.num_users)
        samples = [_sample(histories, users[index], recipe, stage, rng) for index in chosen]
        packed, order = pack_samples(
            scorer.template, samples, num_preference_tokens=recipe.scorer.num_preference_tokens
        )
        liked, disliked = split_pairs(packed, scorer.logits(packed, features[order]))
        loss = preference_loss(liked, disliked, contrastive_weight=recipe.contrastive_weight)
        right = preference_score(liked) > preference_score(disliked)
        return loss, {"top1": right.float().mean().item()}

    return step_loss


def _sample(
    histories: Histories, user: str, recipe: Recipe, stage: Stage, rng: np.random.Generator
) -> Sample:
    most = recipe.scorer.num_references
    fewer = rng.random() < recipe.fewer_references
    return draw_sample(
        histories.pairs[user],
        rng,
        num_references=int(rng.integers(0, most)) if fewer else most,
        num_targets=stage.num_pairs,
    )


def _usable(histories: Histories) -> list[str]:
    users = [user for user, pairs in histories.pairs.items() if len({p.liked for p in pairs}) >= 2]
    if not users:
        raise ValueError(
            "at least one user must have two pairs with different liked images, got none: "
            "import more choices"
        )
    return users


def _adapter_and_tokens(scorer: PreferenceScorer) -> dict[str, nn.Parameter]:
    return {name: p for name, p in scorer.named_parameters() if "lora_" in name} | {
        "preference_tokens": scorer.preference_tokens
    }


def _identity(recipe: Recipe, base: Path, histories: Histories) -> str:
    """Digest of all that decides a run: recipe, base model and choices."""
    data = json.dumps([histories.images, sorted(histories.pairs)])
    parts = [recipe_digest(recipe), files_digest(base), hashlib.sha256(data.encode()).hexdigest()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _write_run(recipe: Recipe, folder: Path, *, num_users: int, identity: str) -> None:
    """Save what is needed to repeat the run: recipe, seeds, commit and versions.

    A run that goes on keeps what was written when it began.
    """
    path = folder / "run.json"
    if path.exists() and json.loads(path.read_text()).get("identity") == identity:
        return
    packages = ("torch", "transformers", "peft", "numpy", "recsys")
    run: dict[str, Any] = {
        "identity": identity,
        "recipe": asdict(recipe),
        "num_users": num_users,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }
    path.write_text(json.dumps(run, indent=2) + "\n")


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
