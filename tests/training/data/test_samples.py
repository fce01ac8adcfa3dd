"""Histories as samples: no image on both sides, liked and disliked in their places."""

import hashlib
from datetime import UTC, datetime

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.history import Pair
from recsys.scorer.idefics2 import image_markup
from recsys.scorer.template import Template, TemplateConfig
from storage.consents import ConsentStore
from storage.records import Choice, ImageFacts
from training.data.samples import (
    Sample,
    draw_sample,
    in_random_order,
    pack_samples,
    read_pair_table,
    split_pairs,
)
from training.fitting.pretraining.tiny_base import train_tokenizer

pairs = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] != pair[1]),
    max_size=14,
).map(lambda rows: [Pair(liked, disliked, f"p{liked}") for liked, disliked in rows])


@settings(deadline=None)
@given(history=pairs, seed=st.integers(0, 5), references=st.integers(0, 8))
def test_targets_share_no_image_with_references(history, seed, references) -> None:
    rng = np.random.default_rng(seed)
    sample = draw_sample(history, rng, num_references=references, num_pairs=4)
    seen = {row for pair in sample.references for row in (pair.liked, pair.disliked)}
    asked = {row for pair in sample.pairs for row in (pair.liked, pair.disliked)}
    assert not seen & asked
    assert len(sample.references) <= references
    assert len(sample.pairs) <= 4
    assert {*sample.references, *sample.pairs} <= set(history)


def test_order_and_choice_follow_the_seed() -> None:
    history = [Pair(2 * i, 2 * i + 1, "") for i in range(20)]
    draw = [
        draw_sample(history, np.random.default_rng(seed), num_references=8, num_pairs=8)
        for seed in (1, 1, 2)
    ]
    assert draw[0] == draw[1]
    assert draw[0] != draw[2]


def test_rows_hold_images_in_the_order_of_their_places() -> None:
    tokenizer = train_tokenizer(["three small fish"], vocabulary=400)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(2))
    samples = [
        Sample((Pair(7, 3, "a"),), (Pair(1, 2, "b"), Pair(5, 6, "c"))),
        Sample((), (Pair(8, 9, "d"),)),
    ]
    packed, order = pack_samples(template, samples, num_preference_tokens=3)
    assert order.tolist() == [7, 3, 1, 2, 5, 6, 8, 9]
    assert int(packed.is_image.sum()) == 2 * len(order)
    assert packed.readouts.shape == (2, 4)
    logits = torch.arange(16.0).reshape(2, 4, 2)
    liked, disliked = split_pairs(packed, logits)
    assert liked.tolist() == [[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]]
    assert disliked.tolist() == [[2.0, 3.0], [6.0, 7.0], [10.0, 11.0]]


def test_a_reference_may_begin_with_its_disliked_image() -> None:
    tokenizer = train_tokenizer(["three small fish"], vocabulary=400)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(2))
    references = Pair(7, 3, "a", liked_first=False), Pair(5, 6, "b")
    sample = Sample(references, (Pair(1, 2, "c", liked_first=False),))
    packed, order = pack_samples(template, [sample], num_preference_tokens=0)
    assert order.tolist() == [3, 7, 5, 6, 1, 2]
    ids = packed.ids[0].tolist()
    labels = [each for each in ids if each in (template.like_id, template.dislike_id)]
    like, dislike = template.like_id, template.dislike_id
    assert labels == [dislike, like, like, dislike]


def test_order_within_references_is_drawn_for_each() -> None:
    sample = Sample(tuple(Pair(2 * i, 2 * i + 1, "") for i in range(400)), (Pair(900, 901, ""),))
    turned = in_random_order(sample, np.random.default_rng(0))
    firsts = [pair.liked_first for pair in turned.references]
    assert 160 < sum(firsts) < 240
    assert [pair.liked for pair in turned.references] == [pair.liked for pair in sample.references]
    assert turned.pairs == sample.pairs


def test_who_is_not_learned_from_is_in_no_table(store) -> None:
    digests = [hashlib.sha256(bytes([n])).hexdigest() for n in range(2)]
    images = {
        sha256: (ImageFacts(sha256, "image/png", 1, 1, 1), bytes([n]))
        for n, sha256 in enumerate(digests)
    }
    for user_id in ("ann", "bob"):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        choice = Choice(user_id, digests[0], (digests[1],), "a hill", moment, "test")
        store.append(choice, images)
    assert set(read_pair_table(store).pairs) == {"ann", "bob"}
    ConsentStore(store.database).update("bob", learn_from=False)
    assert set(read_pair_table(store).pairs) == {"ann"}
    assert set(read_pair_table(store, ["ann", "bob"]).pairs) == {"ann"}
