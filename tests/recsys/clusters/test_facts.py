"""What sets a cluster apart: the right images and words come first, and nothing on thin grounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, fisher_exact

from recsys.clusters.facts import (
    MIN_WORD_Z,
    NUM_IMAGES,
    ClusterFacts,
    cluster_facts,
    log_odds_z,
)
from recsys.clusters.significance import MAX_Q
from storage.clusters.records import ClusterWord, ImageOpinion, PromptUse

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
    """Each choice is by another user: image, place, likes, passes."""
    return [
        ImageOpinion(sha256, place, likes, passes, likes + passes, likes)
        for sha256, place, likes, passes in sorted(rows)
    ]


def images_of(seen: list[ImageOpinion], num_clusters: int) -> list[ClusterFacts]:
    return cluster_facts(seen, list, num_clusters, like_rate=0.5)


def test_images_that_stand_out_and_no_others() -> None:
    seen = opinions(
        ("fox", 0, 19, 1),
        ("fox", 1, 1, 19),
        ("sea", 0, 1, 19),
        ("sea", -1, 19, 1),
        ("hill", 0, 10, 10),
        ("hill", 1, 10, 10),
        ("glimpse", 0, 1, 0),
        ("glimpse", 1, 0, 1),
    )
    first, second = images_of(seen, 2)
    assert [image.sha256 for image in first.liked] == ["fox"]
    assert [image.sha256 for image in first.disliked] == ["sea"]
    assert [image.sha256 for image in second.disliked] == ["fox"]
    assert second.liked == ()
    fox = first.liked[0]
    assert (fox.num_likes, fox.num_passes, fox.overall_rate, fox.num_users) == (19, 1, 0.5, 40)
    assert fox.z == pytest.approx(float(log_odds_z(19, 1, 20, 20, rate=0.5)))
    # Tests: fox and hill in both clusters, sea in the first; glimpse can tell nothing.
    p = [fisher_exact([[19, 1], [1, 19]]).pvalue] * 3 + [1, 1]
    assert fox.q == pytest.approx(false_discovery_control(p)[0], rel=1e-6)


def test_many_choices_of_one_user_are_one_witness() -> None:
    rest = ImageOpinion("fox", 1, 2, 8, 10, 2)
    many_users = [ImageOpinion("fox", 0, 30, 0, 30, 30), rest]
    one_user = [ImageOpinion("fox", 0, 30, 0, 1, 1), rest]
    assert images_of(many_users, 2)[0].liked
    assert images_of(one_user, 2)[0] == ClusterFacts((), (), ())


def test_of_nothing_but_chance_nothing_is_told() -> None:
    """A thousand images that two clusters like alike: at 0.05 each, about fifty would be told."""
    rng = np.random.default_rng(0)
    likes = rng.binomial(30, 0.4, size=(1000, 2))
    rows = [
        (f"{n:04}", place, int(likes[n, place]), 30 - int(likes[n, place]))
        for n in range(1000)
        for place in (0, 1)
    ]
    assert images_of(opinions(*rows), 2) == [ClusterFacts((), (), ())] * 2


def test_only_the_clearest_images_are_kept() -> None:
    rows = [
        (f"{n:04}", place, n if place else 0, 0 if place else n)
        for n in range(1, 600)
        for place in (0, 1)
    ]
    nobody, fans = images_of(opinions(*rows), 2)
    best = [f"{n:04}" for n in range(599, 599 - NUM_IMAGES, -1)]
    assert [image.sha256 for image in fans.liked] == best
    assert [image.sha256 for image in nobody.disliked] == best
    assert nobody.liked == fans.disliked == ()


def test_images_are_tested_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(name, place, 9 * place, 9 - 9 * place) for name in "abcde" for place in (0, 1)]
    whole = images_of(opinions(*rows), 2)
    monkeypatch.setattr("recsys.clusters.facts._IMAGES_AT_ONCE", 3)
    assert images_of(opinions(*rows), 2) == whole
    assert len(whole[1].liked) == 5


def test_no_images_and_no_clusters() -> None:
    assert images_of([], 0) == []
    assert images_of([], 1) == [ClusterFacts((), (), ())]


def words_told(uses: list[PromptUse], num_clusters: int) -> list[dict[str, ClusterWord]]:
    facts = cluster_facts([], lambda: uses, num_clusters, like_rate=0.5)
    return [{word.word: word for word in each.words} for each in facts]


def written(place: int, prompt: str, num_users: int, num_choices: int = 1) -> list[PromptUse]:
    """As many users wrote it, so often each."""
    return [
        PromptUse(prompt, place, f"{prompt} {place} {n}", num_choices) for n in range(num_users)
    ]


def test_words_written_by_more_members_than_others() -> None:
    uses = [
        *written(0, "a fox in the snow", 8),
        *written(0, "a castle", 2),
        *written(1, "a castle", 19),
        *written(-1, "a castle", 4),
        *written(1, "a snow hill", 1),
    ]
    first, second = words_told(uses, 2)
    assert set(first) == {"fox", "snow"}
    assert (first["fox"].rate, first["fox"].overall_rate) == (8 / 10, 8 / 34)
    assert list(first) == sorted(first, key=lambda word: -first[word].z)
    assert min(word.z for word in first.values()) >= MIN_WORD_Z
    assert first["fox"].q < first["snow"].q < MAX_Q
    assert set(second) == {"castle"}


@pytest.mark.parametrize("prompt", ["", "+2", "=1+1", "of the"])
def test_a_prompt_without_a_counted_word_counts_as_choices(prompt: str) -> None:
    uses = [*written(0, "fox", 8), *written(0, prompt, 2), *written(1, "sea", 10)]
    fox = words_told(uses, 2)[0]["fox"]
    assert (fox.rate, fox.overall_rate) == (8 / 10, 8 / 20)
    assert words_told(written(0, prompt, 2), 1) == [{}]


def test_a_word_of_one_member_alone_is_not_told() -> None:
    uses = [
        PromptUse("secretname castle", 0, "ann", 50),
        *written(0, "castle", 9),
        *written(-1, "hill", 90),
    ]
    assert set(words_told(uses, 1)[0]) == {"castle"}


def test_busy_users_write_every_word_and_none_stands_out() -> None:
    """All members wrote each word, and few others did: but in as great a share of their choices."""
    busy = [
        PromptUse(word, 0, f"busy {n}", 20) for n in range(20) for word in ("fox", "hill", "sea")
    ]
    rest = [*written(1, "fox", 20), *written(1, "hill", 20), *written(1, "sea", 20)]
    assert words_told([*busy, *rest], 2)[0] == {}


def test_images_and_words_are_corrected_together() -> None:
    uses = [*written(0, "fox", 6), *written(1, "sea", 6)]
    rows = [(f"{n}", place, 5, 5) for n in range(500) for place in (0, 1)]
    alone = cluster_facts([], lambda: uses, 2, like_rate=0.5)
    among_many = cluster_facts(opinions(*rows), lambda: uses, 2, like_rate=0.5)
    assert [word.word for word in alone[0].words] == ["fox"]
    assert among_many[0].words == ()
