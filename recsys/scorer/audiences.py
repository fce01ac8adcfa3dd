"""Audiences: several P_v on the weights of one scorer.

What `recsys adapt` writes differs from its parent in P_v, temperature and signature part alone, so
that one copy of all else in memory serves both.
"""

from pathlib import Path

from recsys.errors import CheckpointRefused
from recsys.scorer.checkpoint import (
    check_signed,
    find_checkpoint,
    read_config,
    take_preference_tokens,
)
from recsys.scorer.config import ScorerConfig
from recsys.scorer.digests import inherited_parts
from recsys.scorer.model import PreferenceScorer


def load_audience(
    checkpoint: str | Path, scorer: PreferenceScorer, *, served: str | Path
) -> PreferenceScorer:
    """Load a checkpoint's P_v and temperature onto the weights of a scorer.

    It scores as the checkpoint does by itself, and adds to memory no more than its P_v.

    Args:
        checkpoint: of the audience: a folder, or the name of a shipped one.
        scorer: loaded for inference; its weights are used as they are, in the type and on the
            device that they are in.
        served: the checkpoint that the scorer was loaded from.

    Raises:
        NotFound: if there is no such checkpoint.
        CheckpointRefused: if it is damaged, or is no adaptation of the served one or a sister.
    """
    folder, parent = find_checkpoint(checkpoint), find_checkpoint(served)
    config = read_config(folder)
    check_signed(folder, config)
    own, theirs = inherited_parts(folder, config), inherited_parts(parent, read_config(parent))
    others = [part for part, value in own.items() if value != theirs[part]]
    if others:
        raise CheckpointRefused(
            f"{folder} must have all but its preference tokens of the served {parent}, and has"
            f" another {', '.join(others)}: give a checkpoint that `recsys adapt` made from it"
        )
    audience = PreferenceScorer(
        scorer.backbone,
        scorer.template,
        geometry=scorer.geometry,
        config=ScorerConfig.from_json(config["scorer"]),
        model_version=config["model_version"],
    )
    audience.has_own_adapter = scorer.has_own_adapter
    take_preference_tokens(audience, folder)
    return audience.eval().requires_grad_(False)
