"""The paper's template as tokens."""

import pytest

from recsys.scorer.idefics2 import image_markup
from recsys.scorer.template import Template, TemplateConfig

KNOWN = {
    "The prompt is": [415, 11510, 349],
    ". Score for this image?": [842, 18528, 354, 456, 3469, 28804],
    "a cat + a dog": [264, 5255, 648, 264, 3914],
    "well-known - yes": [1162, 28733, 4717, 387, 5081],
    "c++": [277, 1680],
    "++ --": [6537, 1939],
    "+ - +": [648, 387, 648],
}


@pytest.mark.parametrize("text", KNOWN)
def test_the_pieces_are_the_published_vocabulary_s(published, text) -> None:
    assert published.encode(text, add_special_tokens=False) == KNOWN[text]


def test_a_prompt_that_spells_a_label_of_the_published_vocabulary_is_words(published) -> None:
    words = TemplateConfig(like="+", dislike="-")
    template = Template(published, words, image=image_markup(2))
    assert (template.like_id, template.dislike_id) == (648, 387)
    prompts = ["a cat + a dog", "well-known - yes", "+ - +", "c++", "++ --"]
    prefix = template.prefix(prompts)
    labels = [each for each in prefix.ids if each in (648, 387)]
    assert labels == [648, 387] * len(prompts)
    assert not {648, 387} & set(template.candidate("a cat + a dog").ids)
    for prompt in prompts:
        assert prompt in published.decode(template.candidate(prompt).ids)


@pytest.mark.parametrize("prompt", ["a + b - c", "like dislike", "+", "a like-minded fish"])
@pytest.mark.parametrize("config", [TemplateConfig(), TemplateConfig(like="+", dislike="-")])
def test_no_prompt_of_the_tiny_vocabulary_is_a_label(tokenizer, config, prompt) -> None:
    template = Template(tokenizer, config, image=image_markup(2))
    assert not {template.like_id, template.dislike_id} & set(template.candidate(prompt).ids)


def test_a_spelled_label_counts_towards_the_cut(published) -> None:
    words = TemplateConfig(like="+", dislike="-", max_prompt_tokens=3)
    template = Template(published, words, image=image_markup(2))
    assert len(template.candidate("+ - +")) == len(template.candidate("")) + 3


@pytest.fixture
def template(tokenizer) -> Template:
    return Template(tokenizer, TemplateConfig(), image=image_markup(2))


def test_a_labelled_image_reads_as_in_the_paper(template, tokenizer) -> None:
    text = tokenizer.decode(template.labelled("a large house", liked=True).ids)
    assert text.replace(" ", "") == (
        "<fake_token_around_image><image><image><fake_token_around_image>"
        "Thepromptisalargehouse.Scoreforthisimage?like"
    )


def test_a_candidate_is_the_same_without_its_label(template) -> None:
    candidate = template.candidate("three small fish")
    assert template.labelled("three small fish", liked=True).ids[:-1] == candidate.ids
    assert template.labelled("three small fish", liked=False).ids[:-1] == candidate.ids
    assert template.labelled("x", liked=True).ids[-1] == template.like_id
    assert template.labelled("x", liked=False).ids[-1] == template.dislike_id


def test_only_the_template_s_own_places_are_images(template, tokenizer) -> None:
    tokens = template.candidate("a <image> of <fake_token_around_image>")
    assert sum(tokens.is_image) == 2
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert [i for i, token in enumerate(tokens.ids) if token == image] == [1, 2]


def test_prompts_are_cut_at_100_tokens(template) -> None:
    longest = template.candidate("fish " * 10_000)
    assert len(longest) == len(template.candidate("")) + 100


@pytest.mark.parametrize("prompt", ["", "näive 日本語 🐟", "\x00", "a" * 500])
def test_any_prompt_can_be_encoded_and_read_back(template, tokenizer, prompt) -> None:
    empty = len(template.candidate(""))
    ids = template.candidate(prompt).ids
    assert len(ids) <= empty + 100
    if len(ids) < empty + 100:
        assert prompt in tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TemplateConfig(like="likelihood of rain"), "must be one token"),
        (TemplateConfig(like="dislike"), "must differ"),
    ],
)
def test_unfit_labels_are_refused(tokenizer, config, message) -> None:
    with pytest.raises(ValueError, match=message):
        Template(tokenizer, config, image=image_markup(2))


def test_the_authors_labels_can_be_chosen(tokenizer) -> None:
    template = Template(tokenizer, TemplateConfig(like="+", dislike="-"), image=image_markup(2))
    assert template.like_id != template.dislike_id


@pytest.mark.parametrize("word", ["like", "dislike"])
def test_a_prompt_that_spells_a_label_is_not_labelled(template, word) -> None:
    ids = template.candidate(f"a girl I {word} best").ids
    assert template.like_id not in ids
    assert template.dislike_id not in ids
    assert template.labelled("x", liked=True).ids[-1] == template.like_id
