"""Who may be asked about what, given whom a checkpoint learned from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recsys.history import Pair
from recsys.scorer.trained_on import read_trained_on, user_digest, write_trained_on
from storage.errors import IdentityKeyMissing
from storage.identity_keys import IdentityKeys
from training.data.samples import PairTable, images_of
from training.data.trained_on import histories_digest, trained_on
from training.evaluation.asked import Asked, ask, read_pairs, read_users

NUM_PAIRS = 12
KEYS = IdentityKeys.of(["a key for the tests"])
KEY = KEYS.current


def chain(first: int, count: int = NUM_PAIRS) -> tuple[Pair, ...]:
    return tuple(
        Pair(first + 2 * n, first + 2 * n + 1, f"p{first + n}", chosen_at=float(n), choice=n)
        for n in range(count)
    )


def histories() -> PairTable:
    pairs = {f"u{n}": chain(100 * n) for n in range(4)}
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(400)))


def asked(**options) -> Asked:
    defaults = {"seed": 0, "num_references": 3, "num_pairs": 4}
    known = options.pop("table", histories())
    return ask(known, options.pop("trained", None), **(defaults | options))


def learned(until: int, *users: str):
    """A record of having learned from the first `until` pairs of each user."""
    kept = {user: histories().pairs[user][:until] for user in users}
    return trained_on(PairTable(kept, histories().images), parts={}, key=KEY)


def test_without_a_record_everybody_is_unseen_and_it_is_said() -> None:
    result = asked()
    assert set(result.unseen) == {"u0", "u1", "u2", "u3"}
    assert not result.seen
    assert not result.is_certain


def test_users_learned_from_are_asked_about_newer_choices_alone() -> None:
    result = asked(trained=learned(8, "u0", "u1"))
    assert set(result.unseen) == {"u2", "u3"}
    assert set(result.seen) == {"u0", "u1"}
    for sample in result.seen.values():
        assert all(pair.chosen_at >= 8 for pair in sample.pairs)
        assert all(pair.chosen_at < 8 for pair in sample.references)


def test_a_user_learned_from_to_the_end_is_not_asked() -> None:
    assert set(asked(trained=learned(NUM_PAIRS, "u0")).seen) == set()


def test_users_validated_on_are_asked_nothing() -> None:
    record = trained_on(PairTable({}, ()), validation=["u2"], parts={}, key=KEY)
    assert set(asked(trained=record).unseen) == {"u0", "u1", "u3"}


def test_an_image_validated_on_is_asked_of_nobody() -> None:
    known = histories()
    shared = known.pairs["u2"][3]
    pairs = known.pairs | {
        "u1": (*known.pairs["u1"], replace(shared, chosen_at=50.0, choice=NUM_PAIRS))
    }
    record = trained_on(PairTable({}, ()), validation=["u2"], parts={}, key=KEY)
    for seed in range(5):
        result = asked(
            table=PairTable(pairs, known.images), trained=record, num_pairs=99, seed=seed
        )
        assert not images_of(result.unseen["u1"].pairs) & images_of([shared])
        assert result.num_overlapping == 1


def test_users_learned_from_are_asked_about_prompts_that_were_held_out() -> None:
    known = histories()
    kept = tuple(pair for pair in known.pairs["u0"] if pair.prompt != "p5")
    record = trained_on(PairTable({"u0": kept}, known.images), parts={}, key=KEY)
    result = asked(trained=record)
    assert [pair.prompt for pair in result.seen["u0"].pairs] == ["p5"]


def test_an_image_learned_from_is_asked_of_nobody() -> None:
    known = histories()
    shared = known.pairs["u0"][0]
    pairs = known.pairs | {
        "u1": (*known.pairs["u1"], Pair(shared.disliked, shared.liked, "p", 99.0, choice=NUM_PAIRS))
    }
    for seed in range(5):
        result = asked(
            table=PairTable(pairs, known.images),
            trained=learned(8, "u0"),
            num_pairs=99,
            seed=seed,
        )
        assert not images_of(result.unseen["u1"].pairs) & images_of([shared])
        assert result.num_overlapping == 1


def test_baselines_know_everything_but_what_is_asked_of_the_user() -> None:
    result = asked()
    known = result.known()
    for user, sample in result.unseen.items():
        images = images_of(sample.pairs)
        assert all(not images & {p.liked, p.disliked} for p in known.pairs[user])
        assert set(sample.references) <= set(known.pairs[user])


def test_users_named_are_judged_alone() -> None:
    assert set(asked(users=["u1", "u3"]).unseen) == {"u1", "u3"}
    with pytest.raises(ValueError, match=r"every user named must be in storage, 1 are not.*u9"):
        asked(users=["u1", "u9"])


def test_pairs_named_are_judged_and_no_others() -> None:
    images = histories().images
    named = {"u1": [(images[100], images[101])], "u2": [(images[202], images[203])]}
    result = asked(pairs=named)
    assert [(p.liked, p.disliked) for p in result.unseen["u1"].pairs] == [(100, 101)]
    assert [(p.liked, p.disliked) for p in result.unseen["u2"].pairs] == [(202, 203)]
    assert not images_of(result.unseen["u1"].references) & {100, 101}


def test_a_pair_that_nobody_chose_is_refused() -> None:
    images = histories().images
    with pytest.raises(ValueError, match="u1 never preferred"):
        asked(pairs={"u1": [(images[101], images[100])]})


def test_one_user_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two users"):
        asked(users=["u1"])


def test_at_most_so_many_users() -> None:
    assert len(asked(most_users=2).unseen) == 2


def test_users_and_pairs_are_read_from_files(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("a\n\n b \n")
    assert read_users(users) == ["a", "b"]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("user_id,liked_image,disliked_image\na,x,y\na,z,y\n")
    assert read_pairs(pairs) == {"a": [("x", "y"), ("z", "y")]}


@pytest.mark.parametrize(
    "text", ["", "user_id,liked\na,b\n", "user_id,liked_image,disliked_image\n"]
)
def test_a_file_without_pairs_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"pairs\.csv must"):
        read_pairs(path)


def test_a_file_without_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("\n")
    with pytest.raises(ValueError, match="at least one user"):
        read_users(path)


def test_the_record_of_training_names_no_user(tmp_path: Path) -> None:
    record = learned(8, "u0")
    write_trained_on(record, tmp_path)
    text = (tmp_path / "trained_on.json").read_text()
    assert read_trained_on(tmp_path, KEYS) == record
    for secret in ("u0", "p3", KEY.secret.decode(), KEY.secret.hex()):
        assert secret not in text
    for tried in ("u0", "p3"):  # whoever has the file alone can try all ids and prompts
        assert user_digest(None, tried) not in text
    assert record.until("u0") == 7.0
    assert record.until("u1") is None
    assert (record.holds("u0"), record.holds("u1")) == (True, False)
    assert user_digest(KEY, "u0") != user_digest(KEY, "u1")


def test_without_its_key_a_record_tells_nothing_of_users(tmp_path: Path) -> None:
    write_trained_on(learned(8, "u0"), tmp_path)
    for keys in (IdentityKeys(), IdentityKeys.of(["another key for the tests"])):
        record = read_trained_on(tmp_path, keys)
        assert not record.can_tell
        assert record.parts == {}
        with pytest.raises(IdentityKeyMissing, match=KEY.key_id):
            record.holds("u0")
    older = IdentityKeys.of(["another key for the tests", "a key for the tests"])
    assert read_trained_on(tmp_path, older).holds("u0")


def test_a_synthetic_worlds_record_can_be_checked_by_everybody(tmp_path: Path) -> None:
    kept = {"u0": histories().pairs["u0"][:8]}
    record = trained_on(PairTable(kept, histories().images), validation=["u2"], parts={}, key=None)
    write_trained_on(record, tmp_path)
    result = read_trained_on(tmp_path)
    assert result == record
    assert [result.holds(user) for user in ("u0", "u1", "u2")] == [True, False, True]


def test_a_record_of_the_first_version_is_read(tmp_path: Path) -> None:
    """It has neither a format nor a key: plain digests of a drawn world's users."""
    write_trained_on(trained_on(histories(), parts={}, key=None), tmp_path)
    path = tmp_path / "trained_on.json"
    newest = json.loads(path.read_text())
    first = {name: newest[name] for name in ("newest", "prompts", "validation", "parts")}
    path.write_text(json.dumps(first))
    record = read_trained_on(tmp_path)
    assert record.can_tell
    assert record.holds("u0")
    assert not record.holds("a stranger")


def test_a_record_with_earlier_ones_tells_of_all(tmp_path: Path) -> None:
    own, table = learned(8, "u0"), histories()
    first = trained_on(replace(table, pairs={"u1": table.pairs["u1"]}), parts={}, key=None)
    write_trained_on(replace(own, earlier=(first,)), tmp_path)
    record = read_trained_on(tmp_path, KEYS)
    assert record.layers == (own, first)
    assert record.holds("u0")
    assert record.holds("u1")
    assert not record.holds("u2")
    last = histories().pairs["u1"][-1]
    assert record.used("u1", last)
    assert record.until("u1") == last.chosen_at
    without = read_trained_on(tmp_path)
    assert not without.can_tell
    assert without.missing_key_id == own.key_id


def test_a_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trained_on.json").write_text('{"format": 4}')
    with pytest.raises(ValueError, match=r"later version.*got 4"):
        read_trained_on(tmp_path)


def test_no_record_and_a_damaged_one(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path) is None
    (tmp_path / "trained_on.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        read_trained_on(tmp_path)


def test_the_data_digest_does_not_depend_on_the_image_table() -> None:
    known = histories()
    turned = PairTable(
        {
            user: tuple(Pair(399 - p.liked, 399 - p.disliked, p.prompt, p.chosen_at) for p in pairs)
            for user, pairs in reversed(known.pairs.items())
        },
        known.images[::-1],
    )
    assert histories_digest(turned) == histories_digest(known)
    fewer = PairTable({**known.pairs, "u0": known.pairs["u0"][1:]}, known.images)
    assert histories_digest(fewer) != histories_digest(known)
