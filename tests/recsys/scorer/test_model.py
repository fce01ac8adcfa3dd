"""The packed pass against one full pass a candidate, and who gets a gradient."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.images.known import KnownImage
from recsys.scorer import model as model_module
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference, preference_score
from recsys.scorer.packing import pack
from recsys.scorer.prefix import ReferenceTokens
from recsys.scorer.registry import FAMILIES

OVER = FAMILIES
TOLERANCE = 1e-5
FROZEN = ("vision_model.embeddings", "tower.stem")


def full_pass(
    scorer: PreferenceScorer, references: list[Reference], candidate: CandidateImage
) -> float:
    """The naive twin: everything anew for one candidate, in a row of its own."""
    template = scorer.template
    packed = pack(
        [template.prefix([r.prompt for r in references])],
        [[template.candidate(candidate.prompt)]],
        first_position=scorer.config.num_preference_tokens,
    )
    images = [i for r in references for i in (r.liked, r.disliked)] + [candidate.image]
    with torch.no_grad():
        return preference_score(scorer.logits(packed, scorer.image_features(images))).item()


@pytest.mark.parametrize("num_references", [0, 1, 3])
def test_scores_behind_a_kept_prefix_equal_full_passes(
    scorer, references, candidates, num_references
) -> None:
    used = references[:num_references]
    scores = scorer.score(scorer.prefix(used), candidates)
    expected = [full_pass(scorer, used, candidate) for candidate in candidates]
    assert scores.tolist() == pytest.approx(expected, abs=TOLERANCE)
    assert len({round(score, 4) for score in scores.tolist()}) > 1


def test_order_and_company_do_not_matter(scorer, references, candidates) -> None:
    prefix = scorer.prefix(references)
    together = scorer.score(prefix, candidates)
    backwards = scorer.score(prefix, candidates[::-1]).flip(0)
    alone = torch.cat([scorer.score(prefix, [candidate]) for candidate in candidates])
    assert torch.allclose(together, backwards, atol=TOLERANCE)
    assert torch.allclose(together, alone, atol=TOLERANCE)


def test_a_prefix_is_not_changed_by_its_use(scorer, references, candidates) -> None:
    prefix = scorer.prefix(references)
    first = scorer.score(prefix, candidates)
    num_bytes = prefix.num_bytes
    assert torch.equal(scorer.score(prefix, candidates), first)
    assert prefix.num_bytes == num_bytes


def test_a_warm_user_costs_keys_and_values_alone(scorer, references) -> None:
    prefix = scorer.prefix(references)
    text = scorer.backbone.decoder.config
    per_position = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 4
    assert prefix.num_bytes == prefix.num_positions * per_position
    storages = {t.untyped_storage().nbytes() for layer in prefix.key_values.layers for t in layer}
    assert max(storages) == prefix.num_bytes // (2 * text.num_hidden_layers)


@pytest.mark.parametrize("num_references", [0, 1, 3])
def test_the_largest_prefix_is_that_of_all_references_with_the_longest_prompts(
    make_scorer, references, num_references: int
) -> None:
    scorer = make_scorer(num_references=num_references)
    long = [replace(each, prompt="three small fish " * 100) for each in references]
    assert scorer.prefix(long[:num_references]).num_bytes == scorer.max_prefix_bytes
    half = scorer.to(torch.bfloat16)
    assert half.prefix(long[:num_references]).num_bytes == half.max_prefix_bytes


def test_rows_of_different_length_do_not_touch_each_other(scorer, references, candidates) -> None:
    template = scorer.template
    users = [references, references[:1]]
    rows = [candidates[:2], candidates[2:5]]
    packed = pack(
        [template.prefix([r.prompt for r in refs]) for refs in users],
        [[template.candidate(t.prompt) for t in row] for row in rows],
        first_position=scorer.config.num_preference_tokens,
    )
    images = []
    for refs, row in zip(users, rows, strict=True):
        images += [i for r in refs for i in (r.liked, r.disliked)] + [t.image for t in row]
    with torch.no_grad():
        scores = preference_score(scorer.logits(packed, scorer.image_features(images)))
    for user, (refs, row) in enumerate(zip(users, rows, strict=True)):
        expected = [full_pass(scorer, refs, candidate) for candidate in row]
        assert scores[user, : len(row)].tolist() == pytest.approx(expected, abs=TOLERANCE)
    assert scores[0, 2:].tolist() == [0.5]


def test_users_of_one_pass_may_have_preference_tokens_of_their_own(
    scorer, references, candidates
) -> None:
    template, row = scorer.template, candidates[:2]
    prefix = template.prefix([each.prompt for each in references])
    pieces = [template.candidate(each.prompt) for each in row]
    packed = pack([prefix] * 2, [pieces] * 2, first_position=scorer.config.num_preference_tokens)
    images = [i for r in references for i in (r.liked, r.disliked)] + [each.image for each in row]
    features = scorer.image_features(images * 2)
    own = scorer.preference_tokens.detach().clone()
    others = torch.randn(own.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        together = scorer.logits(packed, features, preference=torch.stack([others, own]))
        alone = scorer.logits(packed, features)
        scorer.preference_tokens.copy_(others)
        theirs = scorer.logits(packed, features)
    torch.testing.assert_close(together[0], theirs[0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(together[1], alone[1], atol=TOLERANCE, rtol=0)
    assert (together[0] - together[1]).abs().max() > 100 * TOLERANCE


def encoded(scorer: PreferenceScorer, references: list[Reference]) -> ReferenceTokens:
    """The liked image of every other reference second."""
    order = [place % 2 == 0 for place in range(len(references))]
    images = [
        image
        for each, is_first in zip(references, order, strict=True)
        for image in ((each.liked, each.disliked) if is_first else (each.disliked, each.liked))
    ]
    prompts = [each.prompt for each in references]
    return ReferenceTokens(prompts, scorer.image_features(images), order)


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, TOLERANCE), (torch.bfloat16, 0.02)])
def test_users_who_share_passes_get_what_they_get_alone(
    make_scorer, references, candidates, dtype, tolerance: float
) -> None:
    """Histories, prompts and numbers of candidates of any length, none among them."""
    scorer = make_scorer(num_references=4, max_packed_candidates=2, num_preference_tokens=3)
    if dtype is not None:
        scorer.backbone.to(dtype)
    users = [references, references[:1], [], references[1:]]
    asked = [candidates[:3], candidates, candidates[1:2], []]
    with torch.no_grad():
        read = [encoded(scorer, own) for own in users]
        shown = [scorer.image_features([each.image for each in own]) for own in asked]
    prompts = [[each.prompt for each in own] for own in asked]
    prefixes = scorer.prefixes_of(read)
    together = scorer.margins_of_each(prefixes, prompts, shown)
    for user, own in enumerate(read):
        alone = scorer.prefix_of(own.prompts, own.features, liked_first=own.liked_first)
        expected = scorer.margins_of(alone, prompts[user], shown[user])
        spread = max(float(expected.abs().max()), 1.0) if len(expected) else 1.0
        torch.testing.assert_close(together[user], expected, rtol=0, atol=tolerance * spread)
        assert prefixes[user].num_positions == alone.num_positions
        assert prefixes[user].num_bytes == alone.num_bytes
    assert len({round(float(each), 3) for each in torch.cat(together)}) > 3


def test_no_candidates_no_scores(scorer, references) -> None:
    assert scorer.score(scorer.prefix(references), []).shape == (0,)


def test_too_many_references_are_refused(scorer, references) -> None:
    with pytest.raises(ValueError, match="at most 4 references are read, got 6"):
        scorer.prefix(references * 2)


def test_the_score_is_eq_2() -> None:
    logits = torch.tensor([[1.5, -0.5], [0.0, 0.0], [-200.0, 200.0]])
    expected = logits.double().exp()[:2]
    expected = expected[:, 0] / expected.sum(dim=1)
    assert preference_score(logits)[:2].tolist() == pytest.approx(expected.tolist())
    assert preference_score(logits)[2].item() == 0.0


def test_every_trainable_parameter_gets_a_gradient_also_after_a_no_grad_call(
    scorer, references, candidates
) -> None:
    scorer.score(scorer.prefix(references), candidates)  # must leave nothing frozen behind
    frozen = {n for n, _ in scorer.named_parameters() if any(mark in n for mark in FROZEN)}
    for name, parameter in scorer.named_parameters():
        parameter.requires_grad_(name not in frozen)
    packed = pack(
        [scorer.template.prefix([r.prompt for r in references])],
        [[scorer.template.candidate(t.prompt) for t in candidates]],
        first_position=scorer.config.num_preference_tokens,
    )
    images = [i for r in references for i in (r.liked, r.disliked)] + [t.image for t in candidates]
    scorer.logits(packed, scorer.image_features(images)).square().sum().backward()
    for name, parameter in scorer.named_parameters():
        got = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert got == (name not in frozen), name


def test_scores_are_differentiable_down_to_the_pixels(scorer, references, candidates) -> None:
    prefix = scorer.prefix(references)
    pixels = candidates[0].image.clone().requires_grad_()
    logits = scorer.candidate_logits_of(prefix, ["a large house"], scorer.image_features([pixels]))
    preference_score(logits).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_cache_goes_by_the_name_that_the_library_gives_it(
    scorer, references, candidates, monkeypatch, name
) -> None:
    """The library renamed it, and warns of the old name until it is gone."""
    expected = scorer.score(scorer.prefix(references), candidates)
    own = scorer.backbone._cache_argument
    forward = scorer.backbone.decoder.forward

    def old(inputs_embeds, attention_mask, position_ids, use_cache, past_key_values=None):
        return forward(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{own: past_key_values},
        )

    def new(inputs_embeds, attention_mask, position_ids, use_cache, cache=None):
        return old(inputs_embeds, attention_mask, position_ids, use_cache, past_key_values=cache)

    monkeypatch.setattr(scorer.backbone.decoder, "forward", new if name == "cache" else old)
    scorer.backbone = type(scorer.backbone)(scorer.backbone.model)
    scores = scorer.score(scorer.prefix(references), candidates)
    assert torch.equal(scores, expected)


@pytest.mark.parametrize(
    ("value", "arrived"),
    [
        (255.0, "to 255"),
        (-1.0, "-1 to"),
        (float("nan"), "got NaN in image"),
        (float("inf"), "to inf"),
    ],
)
def test_pixels_outside_the_unit_range_are_refused_wherever_they_stand(
    scorer, references, candidates, value: float, arrived: str
) -> None:
    prefix = scorer.prefix(references)
    for index in (1, 5):  # in the first pass, and in a later one
        spoilt = list(candidates)
        spoilt[index] = replace(spoilt[index], image=spoilt[index].image.clone())
        spoilt[index].image[2, -1, -1] = value
        with pytest.raises(ValueError, match=r"pixels must be RGB in \[0, 1\]") as refused:
            scorer.score(prefix, spoilt)
        assert arrived in str(refused.value)
    bad = replace(references[0], disliked=spoilt[5].image)
    nothing = replace(candidates[0], image=candidates[0].image[:, :0])
    with pytest.raises(
        ValueError, match=r"shape \(3, height, width\), got \(3, 0, 24\) in image 0"
    ):
        scorer.score(prefix, [nothing])
    with pytest.raises(ValueError, match=r"in image 1: (divide bytes by 255|look at what made it)"):
        scorer.prefix([bad])


def as_bytes(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round().to(torch.uint8)


def test_bytes_are_the_pixels_that_they_stand_for(scorer, references, candidates) -> None:
    images = [as_bytes(each.image) for each in candidates]
    images.append(torch.tensor([0, 1, 255], dtype=torch.uint8).expand(3, 5, 3))
    features = scorer.image_features(images)
    assert torch.equal(features, scorer.image_features([image.float() / 255 for image in images]))
    mixed = scorer.image_features([images[0], images[1].float() / 255, *images[2:]])
    assert torch.equal(features, mixed)
    first = references[0]
    read = scorer.prefix([Reference(as_bytes(first.liked), as_bytes(first.disliked), "a house")])
    assert 0 < scorer.score(read, [CandidateImage(images[0], "")]).item() < 1


def test_tokens_of_known_images_are_taken_or_handed_over_once(scorer, candidates) -> None:
    first, second, third = (each.image for each in candidates[:3])
    plain = scorer.image_features([first, second, third])
    handed: list[torch.Tensor] = []
    new = KnownImage(first, keep=handed.append)
    kept = KnownImage(tokens=plain[1], keep=lambda _: pytest.fail("kept again"))
    mixed = scorer.image_features([kept, new, third, new, kept])
    assert torch.allclose(mixed, plain[[1, 0, 2, 0, 1]], atol=TOLERANCE)
    assert len(handed) == 1
    assert torch.allclose(handed[0], plain[0], atol=TOLERANCE)
    assert torch.equal(scorer.image_features([kept]), plain[[1]])


class OnCpu(TorchDispatchMode):
    """Notes the elements of what is computed in floating point on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type == "cpu":
            self.most = max(self.most, result.numel() if result.is_floating_point() else 0)
        return result


def test_bytes_are_made_pixels_where_the_model_is(scorer, monkeypatch) -> None:
    """The meta device stands for a GPU: what the vision tower gets was prepared there."""
    given = []
    scorer.to("meta")
    monkeypatch.setattr(
        scorer.backbone, "image_tokens", lambda *batch: given.extend(batch) or torch.zeros(2, 1, 1)
    )
    images = [torch.zeros(3, 20, 24, dtype=torch.uint8), torch.ones(3, 9, 7, dtype=torch.uint8)]
    with OnCpu() as on_cpu:
        scorer.image_features(images)
    assert on_cpu.most <= 2
    pixels, mask = given
    assert (pixels.device.type, pixels.dtype, pixels.shape) == (
        "meta",
        torch.float32,
        (2, 3, 16, 16),
    )
    assert (mask.device.type, mask.dtype) == ("meta", torch.bool)


def test_black_white_and_what_rounding_adds_are_pixels(scorer) -> None:
    ends = torch.stack([torch.zeros(16, 16), torch.ones(16, 16), torch.ones(16, 16) + 1e-6])
    assert 0 < scorer.score(scorer.prefix([]), [CandidateImage(ends, "")]).item() < 1


@pytest.mark.parametrize("what", ["nothing", "pixels", "weights"])
def test_more_images_than_memory_is_sure_for_are_encoded_in_several_passes(
    scorer, monkeypatch, what
) -> None:
    """Unless a backward pass needs all activations anyway."""
    images = [torch.rand(3, 16 + seed, 40 - seed) for seed in range(19)]
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(model_module, "ENCODED_AT_ONCE", len(images))
        in_one_pass = scorer.image_features(images)
    scorer.requires_grad_(False)
    if what == "pixels":
        images[18].requires_grad_()
    elif what == "weights":
        next(scorer.backbone.image_modules[1].parameters()).requires_grad_()
    sizes, encode = [], scorer.backbone.image_tokens

    def counted(pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return encode(pixels, mask)

    monkeypatch.setattr(scorer.backbone, "image_tokens", counted)
    tokens = scorer.image_features(images)
    assert tokens.requires_grad == (what != "nothing")
    with torch.no_grad():
        torch.testing.assert_close(scorer.image_features(images), in_one_pass, rtol=0, atol=1e-5)
    assert sizes == ([16, 3] if what == "nothing" else [19]) + [16, 3]
