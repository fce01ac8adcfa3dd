"""A scorer without preference tokens against the forward pass of the library's own model."""

from dataclasses import replace

import torch

from recsys.images.preprocess import pad_batch, resize
from recsys.scorer.idefics2 import normalise
from recsys.scorer.model import PreferenceScorer

OVER = ("idefics2", "idefics3")
TOLERANCE = 1e-5


def test_without_preference_tokens_the_pass_is_the_librarys_own(
    scorer, model, references, candidates
) -> None:
    """With K = 0, M+ and M- are what the library's whole forward says of the same ids."""
    bare = PreferenceScorer(
        scorer.backbone,
        scorer.template,
        geometry=scorer.geometry,
        config=replace(scorer.config, num_preference_tokens=0),
    )
    features = bare.image_features([candidates[0].image])
    prompt = candidates[0].prompt
    logits = bare.candidate_logits_of(bare.prefix(references), [prompt], features)[0]
    prompts = [reference.prompt for reference in references]
    tokens = bare.template.prefix(prompts) + bare.template.candidate(prompt)
    images = [i for r in references for i in (r.liked, r.disliked)] + [candidates[0].image]
    pixels, mask = pad_batch([resize(image, bare.geometry) for image in images])
    with torch.no_grad():
        expected = model(
            input_ids=torch.tensor([tokens.ids]),
            pixel_values=normalise(pixels)[None],
            pixel_attention_mask=mask[None],
        ).logits[0, -1, [bare.template.like_id, bare.template.dislike_id]]
    assert torch.allclose(logits, expected, atol=TOLERANCE)
