"""A small random scorer, images for it, and a part of the published tokenizer."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference

PIECES = Path(__file__).with_name("mistral_pieces.json")
"""Pieces of the vocabulary of Mistral-7B and Idefics2-8B, with their ids.

They are those that the texts of test_template.py have; the ids there are sentencepiece's.
Source: `tokenizer.model.v1` of the package mistral-common 1.13.1.
"""


@pytest.fixture
def scorer(model, make_scorer) -> PreferenceScorer:
    return make_scorer(model, num_references=4, num_preference_tokens=3, max_packed_candidates=4)


def image(seed: int, height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def references() -> list[Reference]:
    prompts = ["three small fish", "", "a house " * 40]
    return [Reference(image(2 * i), image(2 * i + 1), prompt) for i, prompt in enumerate(prompts)]


@pytest.fixture
def candidates() -> list[CandidateImage]:
    return [CandidateImage(image(100 + i, 16 + i), "word " * i) for i in range(7)]


@pytest.fixture(scope="module")
def published() -> PreTrainedTokenizerFast:
    """A tokenizer with the published ids of Idefics2-8B, of those pieces."""
    pieces = json.loads(PIECES.read_text("utf-8"))
    special = {"<unk>": 0, "<s>": 1, "</s>": 2, "<fake_token_around_image>": 32000}
    special |= {"<image>": 32001, "<end_of_utterance>": 32002}
    merges = [
        (whole[:cut], whole[cut:])
        for whole in sorted(pieces, key=pieces.__getitem__)  # merged first is what has the lower id
        for cut in range(1, len(whole))
        if whole[:cut] in pieces and whole[cut:] in pieces
    ]
    tokenizer = Tokenizer(models.BPE(special | pieces, merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
