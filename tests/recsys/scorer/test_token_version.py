"""Who shares image tokens: models that see alike, and no others."""

from dataclasses import replace

import pytest
import torch

from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.registry import FAMILIES
from recsys.scorer.token_version import token_version

OVER = FAMILIES


def test_only_what_makes_image_tokens_counts(make_scorer) -> None:
    scorer = make_scorer(num_preference_tokens=3)
    version = token_version(scorer)
    assert token_version(make_scorer(seed=9, num_preference_tokens=5)) == version
    with torch.no_grad():
        scorer.preference_tokens += 1
        next(scorer.backbone.decoder.parameters()).add_(1)
    assert token_version(scorer) == version


def test_each_weight_the_precision_and_the_geometry_count(make_scorer) -> None:
    versions = {token_version(make_scorer())}
    for module in make_scorer().backbone.image_modules:
        assert list(module.parameters())
    for number in (0, 1):
        scorer = make_scorer()
        with torch.no_grad():
            parameter = list(scorer.backbone.image_modules[number].parameters())[-1]
            parameter.view(-1)[0] += 1
        versions.add(token_version(scorer))
    scorer = make_scorer()
    scorer.geometry = replace(scorer.geometry, square_px=24)
    versions.add(token_version(scorer))
    versions.add(token_version(make_scorer().to(torch.bfloat16)))
    assert len(versions) == 5


@pytest.mark.parametrize(
    ("targets", "same"), [("adapter_targets", False), ("decoder_targets", True)]
)
def test_what_scales_an_adapter_counts_where_it_makes_image_tokens(
    small, make_scorer, targets, same
) -> None:
    """No weight tells it, and it is in no checkpoint's adapter that is merged."""

    def adapted(alpha: int) -> str:
        scorer = make_scorer()
        torch.manual_seed(0)
        shape = LoraShape(rank=2, alpha=alpha, targets=getattr(small.family, targets))
        scorer.backbone = small.family.wrap(add_adapter(scorer.backbone.model, shape))
        return token_version(scorer)

    assert adapted(2) == adapted(2)
    assert (adapted(2) == adapted(16)) == same
