"""What sets a cluster apart: the right images and words come first, and nothing on thin grounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.clusters.facts import (
    MIN_WORD_Z,
    NUM_IMAGES,
    image_facts,
    log_odds_z,
    word_facts,
    words_of,
)
from storage.clusters.records import ImageOpinion, PromptUse

COUNT = st.integers(0, 1000)


def test_the_formula_by_hand() -> None:
    # Liked 8 of 10 here, 5 of 20 elsewhere; a = 13 / 10 + 0.5, b = 17 / 10 + 0.5.
    delta = math.log((8 + 1.8) / (2 + 2.2)) - math.log((5 + 1.8) / (15 + 2.2))
    variance = 1 / (8 + 1.8) + 1 / (2 + 2.2) + 1 / (5 + 1.8) + 1 / (15 + 2.2)
    assert log_odds_z(8, 2, 13, 17, rate=0.5) == pytest.approx(delta / math.sqrt(variance))


@given(COUNT, COUNT, COUNT, COUNT, st.floats(0.01, 0.99))
def test_a_group_and_all_others_are_told_apart_alike(a: int, b: int, c: int, d: int, rate: float):
    here = log_odds_z(a, b, a + c, b + d, rate=rate)
    there = log_odds_z(c, d, a + c, b + d, rate=rate)
    assert here == pytest.approx(-there)
    assert np.isfinite(here)
    assert log_odds_z(b, a, b + d, a + c, rate=1 - rate) == pytest.approx(-here, abs=1e-9)


def test_more_of_the_same_is_clearer() -> None:
    few, many = (log_odds_z(n, 0, n, n, rate=0.5) for n in (1, 20))
    assert 0 < few < 1 < 3 < many


def opinions(*rows: tuple[str, int, int, int]) -> list[ImageOpinion]:
    return [ImageOpinion(*row) for row in sorted(rows)]


def test_images_liked_more_and_less_than_by_everyone_else() -> None:
    seen = opinions(
        ("fox", 0, 9, 1),
        ("fox", 1, 1, 9),
        ("sea", 0, 1, 9),
        ("sea", -1, 9, 1),
        ("hill", 0, 5, 5),
        ("hill", 1, 5, 5),
        ("glimpse", 0, 1, 0),
    )
    first, second = image_facts(seen, 2, like_rate=0.5)
    assert [image.sha256 for image in first.liked] == ["fox", "glimpse"]
    assert [image.sha256 for image in first.disliked] == ["sea"]
    assert [image.sha256 for image in second.disliked] == ["fox"]
    assert second.liked == ()
    fox = first.liked[0]
    assert (fox.num_likes, fox.num_passes, fox.overall_rate) == (9, 1, 0.5)
    assert fox.z == pytest.approx(float(log_odds_z(9, 1, 10, 10, rate=0.5)))


def test_only_the_clearest_images_are_kept() -> None:
    rows = [
        (f"{n:04}", place, n if place else 0, 0 if place else n)
        for n in range(1, 600)
        for place in (0, 1)
    ]
    nobody, fans = image_facts(opinions(*rows), 2, like_rate=0.5)
    best = [f"{n:04}" for n in range(599, 599 - NUM_IMAGES, -1)]
    assert [image.sha256 for image in fans.liked] == best
    assert [image.sha256 for image in nobody.disliked] == best
    assert nobody.liked == fans.disliked == ()


def test_no_images_and_no_clusters() -> None:
    assert image_facts([], 0, like_rate=0.5) == []
    (none,) = image_facts([], 1, like_rate=0.5)
    assert none.liked == none.disliked == ()
    assert word_facts(list, 0) == []
    assert word_facts(list, 1) == [()]


def test_words() -> None:
    assert words_of("A fox, in the SNOW; fox-like (4k) día über 雪景") == {
        *("fox", "snow", "fox-like", "día", "über", "雪景")
    }
    assert words_of("") == words_of("the of 42 _") == set()


def test_words_written_more_often_than_by_everyone_else() -> None:
    uses = [
        PromptUse("a fox in the snow", 0, 8, "ann", "bob"),
        PromptUse("a castle", 0, 2, "ann", "bob"),
        PromptUse("a castle", 1, 19, "cyd", "dan"),
        PromptUse("a castle", -1, 4, "eve", "eve"),
        PromptUse("a snow hill", 1, 1, "cyd", "cyd"),
    ]
    first, second = word_facts(lambda: uses, 2)
    told = {word.word: word for word in first}
    assert set(told) == {"fox", "snow"}
    assert (told["fox"].rate, told["fox"].overall_rate) == (8 / 10, 8 / 34)
    assert first[0].z > first[1].z >= MIN_WORD_Z
    assert [word.word for word in second] == ["castle"]


def test_a_word_of_one_member_alone_is_not_told() -> None:
    def uses(*others: PromptUse) -> list[PromptUse]:
        return [PromptUse("secretname castle", 0, 50, "ann", "ann"), *others]

    castle = PromptUse("castle", 0, 5, "bob", "bob")
    (words,) = word_facts(lambda: uses(castle, PromptUse("hill", -1, 90, "cyd", "cyd")), 1)
    assert [word.word for word in words] == ["castle"]
