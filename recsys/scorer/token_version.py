"""A digest of all that decides image tokens: models that see alike have the same one."""

import hashlib
import json
from dataclasses import asdict

from recsys.scorer.digests import tensor_parts
from recsys.scorer.model import PreferenceScorer


def token_version(scorer: PreferenceScorer) -> str:
    """SHA-256 of the geometry, the precision, and each weight and scale that makes image tokens.

    Preference tokens, the decoder and adapters on it count for nothing, so that checkpoints of one
    base share tokens. It reads all weights of the vision tower: seconds for a large model.

    Args:
        scorer: loaded. If its vision tower is trained on, the digest is of before.
    """
    from recsys.scorer.adapter import update_scales

    digest = hashlib.sha256(json.dumps(asdict(scorer.geometry), sort_keys=True).encode())
    for module in scorer.backbone.image_modules:
        for part in tensor_parts(module.state_dict()):
            digest.update(part)
        for name, scale in sorted(update_scales(module).items()):
            digest.update(f"{name}:{scale!r}:".encode())
    return digest.hexdigest()
