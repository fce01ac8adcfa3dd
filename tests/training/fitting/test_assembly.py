"""How preference tokens begin."""

import torch

from training.fitting.assembly import start_from_words


def test_tokens_may_begin_as_words(make_scorer) -> None:
    scorer = make_scorer(num_preference_tokens=3)
    words = range(20, 90)
    before = torch.get_rng_state()
    start_from_words(scorer, words, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    embedded = scorer.backbone.embed(torch.tensor(words))
    is_word = (scorer.preference_tokens.detach()[:, None] == embedded).all(dim=-1)
    assert is_word.sum(dim=1).tolist() == [1, 1, 1]
    assert is_word.any(dim=0).sum() == 3
    first = scorer.preference_tokens.detach().clone()
    start_from_words(scorer, words, seed=5)
    assert torch.equal(scorer.preference_tokens, first)
    start_from_words(scorer, words, seed=6)
    assert not torch.equal(scorer.preference_tokens, first)
