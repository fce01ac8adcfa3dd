"""Parts that share nothing they should not, and leaks that are found where one is planted."""

from dataclasses import replace
from pathlib import Path

import pytest

from recsys.history import Pair
from training.data.samples import PairTable, images_of
from training.data.splits import (
    Leakage,
    Split,
    SplitRule,
    check_leakage,
    eligible,
    prompt_weights,
    split,
    write_split,
)

NUM_USERS, NUM_PAIRS = 60, 20
RULE = SplitRule(validation_users=0.2, held_prompts=0.2, newest=0.1, fewest_liked=11)


def histories() -> PairTable:
    """Users who share prompts; each pair shows images of its own."""
    pairs = {
        f"u{user}": tuple(
            Pair(
                2 * (user * NUM_PAIRS + n),
                2 * (user * NUM_PAIRS + n) + 1,
                f"p{(user + n) % 30}",
                float(n),
            )
            for n in range(NUM_PAIRS)
        )
        for user in range(NUM_USERS)
    }
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(2 * NUM_USERS * NUM_PAIRS)))


def dealt(rule: SplitRule = RULE) -> Split:
    return split(histories(), rule)


def rows(part: PairTable) -> set[int]:
    return {row for pairs in part.pairs.values() for row in images_of(pairs)}


def test_every_part_has_somebody_and_shares_no_image_with_another() -> None:
    result = dealt()
    assert all(part.pairs for part in result.parts.values())
    parts = [rows(part) for part in result.parts.values()]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_validation_users_are_not_learned_from() -> None:
    result = dealt()
    assert not result.train.pairs.keys() & result.validation.pairs.keys()
    assert result.held.pairs.keys() <= result.train.pairs.keys()


def test_held_prompts_are_learned_from_nobody() -> None:
    result = dealt()
    learned = {p.prompt for pairs in result.train.pairs.values() for p in pairs}
    assert learned
    assert not any(RULE.holds_prompt(prompt) for prompt in learned)


def test_newest_choices_are_held_out() -> None:
    result = dealt(replace(RULE, held_prompts=0.0))
    for user, pairs in result.held.pairs.items():
        assert [pair.chosen_at for pair in pairs] == [18.0, 19.0]
        assert max(pair.chosen_at for pair in result.train.pairs[user]) == 17.0


def test_a_small_share_of_many_short_histories_is_that_share() -> None:
    known = PairTable(
        {
            f"u{user}": tuple(Pair(2 * n, 2 * n + 1, f"p{user}", float(n)) for n in range(20))
            for user in range(2000)
        },
        ("",) * 40,
    )
    rule = SplitRule(newest=0.002, fewest_liked=11)
    counts = [rule.num_newest(user, 20) for user in known.pairs]
    assert set(counts) == {0, 1}
    assert 60 <= sum(counts) <= 100  # 80 of 40,000 are expected, and 9 is the standard deviation
    learned = sum(map(len, split(known, rule).train.pairs.values()))
    assert learned == 40_000 - sum(counts)


def test_pairs_of_one_choice_stay_together() -> None:
    pairs = [Pair(0, n, "p", float(n // 3)) for n in range(1, 10)]
    known = PairTable({"u": tuple(pairs)}, ("",) * 20)
    result = split(known, SplitRule(newest=0.23, fewest_liked=1))
    assert len(result.train.pairs["u"]) == 5
    # Their shared liked image is learned from, so the held ones cannot be judged by.
    assert result.held.pairs == {}
    assert result.num_overlapping == 4


def test_users_and_prompts_keep_their_side_when_data_grow() -> None:
    fewer = PairTable(dict(list(histories().pairs.items())[:30]), histories().images)
    small, large = split(fewer, RULE), dealt()
    assert set(small.validation.pairs) == set(large.validation.pairs) & set(fewer.pairs)


def test_users_with_too_few_liked_images_take_no_part() -> None:
    known = histories()
    known.pairs["short"] = known.pairs["u0"][:10]
    assert "short" not in eligible(known, 11).pairs
    assert split(known, RULE).num_short == 1


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"somebody to learn from, got 60 users, 60 of them"):
        split(histories(), replace(RULE, fewest_liked=21))


def leaked(**changes: PairTable) -> Split:
    return replace(dealt(), **changes)


def test_a_validation_user_in_training_is_found() -> None:
    result = dealt()
    user, pairs = next(iter(result.validation.pairs.items()))
    train = replace(result.train, pairs={**result.train.pairs, user: pairs})
    with pytest.raises(Leakage, match=f"user {user} is both"):
        check_leakage(leaked(train=train))


def test_a_held_prompt_in_training_is_found() -> None:
    result = dealt()
    prompt = next(
        p.prompt for ps in result.held.pairs.values() for p in ps if RULE.holds_prompt(p.prompt)
    )
    train = replace(result.train, pairs={**result.train.pairs, "new": (Pair(0, 1, prompt, 0.0),)})
    with pytest.raises(Leakage, match="held-out prompt"):
        check_leakage(leaked(train=train))


def test_a_validation_image_in_training_is_found() -> None:
    result = dealt()
    row, other = sorted(rows(result.validation))[:2]
    free = next(f"q{n}" for n in range(99) if not RULE.holds_prompt(f"q{n}"))
    train = replace(
        result.train, pairs={**result.train.pairs, "new": (Pair(row, other, free, 0.0),)}
    )
    with pytest.raises(Leakage, match="is learned from and in validation"):
        check_leakage(leaked(train=train))


def test_a_held_choice_older_than_training_is_found() -> None:
    result = dealt(replace(RULE, held_prompts=0.0))
    user, pairs = next(iter(result.held.pairs.items()))
    held = replace(result.held, pairs={user: (replace(pairs[0], chosen_at=0.0),)})
    with pytest.raises(Leakage, match=f"choice of {user} that is held out is no newer"):
        check_leakage(replace(result, held=held))


def test_a_held_choice_of_the_same_instant_is_found() -> None:
    result = dealt(replace(RULE, held_prompts=0.0))
    user, pairs = next(iter(result.held.pairs.items()))
    held = replace(result.held, pairs={user: (replace(pairs[0], chosen_at=17.0),)})
    with pytest.raises(Leakage, match="no newer than one learned from"):
        check_leakage(replace(result, held=held))


def test_an_image_on_two_rows_is_one_image() -> None:
    result = dealt()
    images = list(result.train.images)
    images[min(rows(result.validation))] = images[min(rows(result.train))]
    parts = {name: replace(part, images=tuple(images)) for name, part in result.parts.items()}
    with pytest.raises(Leakage, match="is learned from and in validation"):
        check_leakage(replace(result, **parts))


def test_a_user_with_held_prompts_alone_is_nobody_seen() -> None:
    known = histories()
    held = next(f"q{n}" for n in range(99) if RULE.holds_prompt(f"q{n}"))
    user = next(user for user in known.pairs if not RULE.holds_user(user))
    known.pairs[user] = tuple(replace(pair, prompt=held) for pair in known.pairs[user])
    result = split(known, RULE)
    assert all(user not in part.pairs for part in result.parts.values())


def test_validation_that_shares_all_images_is_refused() -> None:
    pairs = tuple(Pair(2 * n, 2 * n + 1, f"p{n}", float(n)) for n in range(NUM_PAIRS))
    known = replace(histories(), pairs={f"u{user}": pairs for user in range(NUM_USERS)})
    with pytest.raises(ValueError, match=r"as by --set split\.held_prompts=0\.3"):
        split(known, SplitRule(validation_users=0.2))


def test_rule_digests_and_sizes_are_written(tmp_path: Path) -> None:
    write_split(dealt(), tmp_path / "split.json")
    text = (tmp_path / "split.json").read_text()
    assert dealt().digests["held"] in text
    assert dealt(replace(RULE, seed=1)).digests["held"] not in text
    assert '"num_short_users": 0' in text


def test_a_prompt_that_many_chose_for_counts_no_more() -> None:
    known = PairTable({"a": (Pair(0, 1, "x"), Pair(2, 3, "x"), Pair(4, 5, "y"))}, ("",) * 6)
    weights = prompt_weights(known)
    assert weights == {"x": pytest.approx(0.75), "y": pytest.approx(1.5)}
    assert 2 * weights["x"] + weights["y"] == pytest.approx(3)


def test_an_image_validated_on_and_held_out_is_found() -> None:
    result = dealt()
    shared = next(iter(result.validation.pairs.values()))[0]
    user, pairs = next(iter(result.held.pairs.items()))
    leak = replace(pairs[0], liked=shared.liked)
    held = replace(result.held, pairs={**result.held.pairs, user: (*pairs, leak)})
    with pytest.raises(Leakage, match="is validated on and held out"):
        check_leakage(replace(result, held=held))


def test_what_is_held_out_shows_no_image_validated_on() -> None:
    prompt = next(f"q{n}" for n in range(99) if RULE.holds_prompt(f"q{n}"))
    known = histories()
    validated = next(user for user in known.pairs if RULE.holds_user(user))
    learner = next(user for user in known.pairs if not RULE.holds_user(user))
    for user in (validated, learner):
        known.pairs[user] = (*known.pairs[user], Pair(0, 1, prompt, 5.0))
    first = next(user for user, pairs in known.pairs.items() if pairs[0].liked == 0)
    known.pairs[first] = known.pairs[first][1:] if first != validated else known.pairs[first]
    result = split(known, RULE)
    assert any(p.prompt == prompt for p in result.validation.pairs[validated])
    assert not any(p.prompt == prompt for p in result.held.pairs[learner])
