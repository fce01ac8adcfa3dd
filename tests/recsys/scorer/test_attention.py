"""Attention to P_v (Eq. 6) against the library's eager attention weights."""

import pytest
import torch

from recsys.scorer.attention import attention_scores, record_preference_attention
from recsys.scorer.packing import SHARED, attention_mask, pack


def packed_inputs(scorer, references, candidates):
    packed = pack(
        [scorer.template.prefix([r.prompt for r in references])],
        [[scorer.template.candidate(t.prompt) for t in candidates]],
        first_position=scorer.config.num_preference_tokens,
    )
    images = [i for r in references for i in (r.liked, r.disliked)] + [t.image for t in candidates]
    return packed, scorer.image_features(images)


def eager_weights(scorer, packed, features):
    """The naive twin: the same inputs through the library's eager attention."""
    num_tokens = scorer.config.num_preference_tokens
    shared = packed.segments.new_full((1, num_tokens), SHARED)
    segments = torch.cat([shared, packed.segments], dim=1)
    places = packed.is_image[..., None].expand(*packed.ids.shape, scorer.backbone.hidden_size)
    embedded = scorer.backbone.embed(packed.ids).masked_scatter(places, features)
    text = scorer.backbone.decoder
    text.set_attn_implementation("eager")
    output = text(
        inputs_embeds=torch.cat([scorer.preference_tokens[None], embedded], dim=1),
        attention_mask=attention_mask(segments, segments, dtype=torch.float32),
        position_ids=torch.cat([torch.arange(num_tokens)[None], packed.positions], dim=1),
        output_attentions=True,
        use_cache=False,
    )
    return torch.stack(output.attentions)


@torch.no_grad()
def test_full_normalisation_equals_eager_weights(scorer, references, candidates) -> None:
    num_tokens = scorer.config.num_preference_tokens
    packed, features = packed_inputs(scorer, references, candidates)
    with record_preference_attention(num_tokens, normalisation="full") as record:
        scorer.logits(packed, features)
    expected = eager_weights(scorer, packed, features)[..., :num_tokens]
    assert torch.allclose(record.stacked(), expected, atol=1e-6)


@torch.no_grad()
def test_eq_6_is_a_softmax_over_the_preference_tokens(scorer, references, candidates) -> None:
    num_tokens = scorer.config.num_preference_tokens
    packed, features = packed_inputs(scorer, references, candidates)
    with record_preference_attention(num_tokens) as record:
        scorer.logits(packed, features)
    full = eager_weights(scorer, packed, features)[..., num_tokens:, :num_tokens]
    expected = full / full.sum(dim=-1, keepdim=True)
    assert torch.allclose(record.stacked()[..., num_tokens:, :], expected, atol=1e-5)


@torch.no_grad()
def test_the_log_ratio_is_the_log_of_eq_6_less_its_mean(scorer, references, candidates) -> None:
    num_tokens = scorer.config.num_preference_tokens
    packed, features = packed_inputs(scorer, references, candidates)
    with record_preference_attention(num_tokens, normalisation="preference") as record:
        scorer.logits(packed, features)
    # The first K are P_v themselves, which see only those before them.
    logs = record.stacked()[..., num_tokens:, :].log()
    with record_preference_attention(num_tokens, normalisation="log_ratio") as record:
        scorer.logits(packed, features)
    maps = record.stacked()[..., num_tokens:, :]
    assert torch.allclose(maps, logs - logs.mean(dim=-1, keepdim=True), atol=1e-5)
    assert torch.allclose(maps.sum(dim=-1), torch.zeros(()), atol=1e-5)
    assert maps.std() > 1e-3


def test_the_log_ratio_still_tells_apart_where_the_softmax_has_saturated(
    scorer, references, candidates
) -> None:
    """Queries and keys so long that all of Eq. 6 lies on one token, and gives no gradient."""
    for layer in scorer.backbone.decoder.layers:
        layer.self_attn.q_proj.weight.data *= 1e5
    num_tokens = scorer.config.num_preference_tokens
    packed, features = packed_inputs(scorer, references, candidates)
    steepness = {}
    for normalisation in ("preference", "log_ratio"):
        scorer.zero_grad()
        with record_preference_attention(num_tokens, normalisation=normalisation) as record:
            scorer.logits(packed, features.detach())
        first = record.layers[0][:, :, num_tokens:]
        assert torch.isfinite(first).all()
        first[..., 0].mean().backward()
        steepness[normalisation] = scorer.preference_tokens.grad.norm().item()
    assert steepness["preference"] < 1e-3 * steepness["log_ratio"]


def test_behind_a_kept_prefix_candidates_show_the_same_attention(
    scorer, references, candidates
) -> None:
    num_tokens = scorer.config.num_preference_tokens
    packed, features = packed_inputs(scorer, references, candidates[:3])
    with torch.no_grad(), record_preference_attention(num_tokens) as whole:
        scorer.logits(packed, features)
    prefix = scorer.prefix(references)
    with torch.no_grad(), record_preference_attention(num_tokens) as behind:
        scorer.score(prefix, candidates[:3])
    num_queries = behind.stacked().shape[3]
    assert torch.allclose(whole.stacked()[..., -num_queries:, :], behind.stacked(), atol=1e-5)


def test_attention_is_differentiable_down_to_the_preference_tokens(
    scorer, references, candidates
) -> None:
    packed, features = packed_inputs(scorer, references, candidates)
    with record_preference_attention(scorer.config.num_preference_tokens) as record:
        scorer.logits(packed, features)
    record.stacked()[..., 0].sum().backward()
    assert scorer.preference_tokens.grad is not None
    assert scorer.preference_tokens.grad.abs().sum() > 0


def test_no_preference_tokens_is_a_callers_slip() -> None:
    with (
        pytest.raises(ValueError, match="must be preference tokens"),
        record_preference_attention(0),
    ):
        pass


def test_long_queries_and_keys_do_not_leave_the_range_of_float16() -> None:
    """40 * 40 * 128 is beyond 65,504, and an eleventh of it is not."""
    query, key = (torch.full((1, heads, 1, 128), 40.0) for heads in (4, 2))
    scale = 128**-0.5
    expected = torch.full((1, 4, 1, 1), 40 * 40 * 128 * scale)
    scores = attention_scores(query.half(), key.half(), scale)
    torch.testing.assert_close(scores.float(), expected, rtol=2**-9, atol=0)
