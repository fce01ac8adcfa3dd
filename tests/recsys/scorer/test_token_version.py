"""Who shares image tokens: models that see alike, and no others."""

from dataclasses import replace

import torch

from recsys.scorer.token_version import token_version


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
