"""Who may decide how the model is blended with others' taste."""

from recsys.coldstart.learning import may_judge
from recsys.scorer.trained_on import TrainedOn, user_digest
from storage.identity_keys import IdentityKeys

KEY = IdentityKeys.of(["a key for the tests"]).current


def test_whom_the_model_learned_from_may_not_judge_it() -> None:
    known = TrainedOn({user_digest(None, "ann"): 1.0})
    assert may_judge(known, ["ann", "ben"]) == [False, True]


def test_where_nothing_is_known_nobody_is_kept_from_it() -> None:
    assert may_judge(None, ["ann"]) is None
    silent = TrainedOn({user_digest(KEY, "ann"): 1.0}, key_id=KEY.key_id)
    assert may_judge(silent, ["ann"]) is None


def test_what_a_record_tells_without_one_of_its_keys_counts() -> None:
    plain = TrainedOn({user_digest(None, "ben"): 1.0})
    known = TrainedOn({user_digest(KEY, "ann"): 1.0}, key_id=KEY.key_id, earlier=(plain,))
    assert may_judge(known, ["ann", "ben"]) == [True, False]
