"""Two checkpoints compared: who is asked, who lends, and who decides how they are blended."""

from dataclasses import replace

import pytest

from recsys.history import Pair
from training.data.samples import PairTable, Sample
from training.data.trained_on import trained_on
from training.evaluation.checkpoints import lending

PAIR = Pair(0, 1, "a fish")


def people(num_known: int, num_strangers: int) -> PairTable:
    names = [f"known {n}" for n in range(num_known)]
    names += [f"stranger {n}" for n in range(num_strangers)]
    return PairTable(dict.fromkeys(names, (PAIR,)), ("0" * 64, "1" * 64))


@pytest.mark.parametrize(
    ("num_known", "num_strangers", "num_asked", "num_left", "num_judges"),
    [
        (150, 320, 300, 300, 20),  # twenty who are not asked decide
        (150, 319, 300, 240, 79),  # one too few: a fifth of those who are asked lend, too
        (150, 100, 100, 80, 20),
        (150, 99, 99, 99, 0),  # a fifth of them would decide by chance
        (75, 100, 100, 100, 0),  # and with the fifth there are too few who lend
    ],
)
def test_strangers_decide_or_nobody(
    num_known: int, num_strangers: int, num_asked: int, num_left: int, num_judges: int
) -> None:
    table = people(num_known, num_strangers)
    known = {user: own for user, own in table.pairs.items() if user.startswith("known")}
    record = trained_on(replace(table, pairs=known), parts={}, key=None)
    strangers = [user for user in table.pairs if user not in known]
    unseen = dict.fromkeys(strangers[:num_asked], Sample((), (PAIR,)))
    found = lending(table, unseen, record, seed=0)
    assert len(found.asked) == num_left
    assert found.num_strangers == num_judges
    assert not found.asked.keys() & found.lent.keys()
    judges = [user for user, may in zip(found.lent, found.may_judge or (), strict=False) if may]
    assert not set(judges) & known.keys()
    assert len(found.lent) == (num_known + num_strangers - num_left if num_judges else 0)


def test_where_nobody_is_known_everybody_who_is_not_asked_lends() -> None:
    table = people(0, 150)
    unseen = dict.fromkeys(list(table.pairs)[:50], Sample((), (PAIR,)))
    found = lending(table, unseen, None, seed=0)
    assert (found.asked, found.may_judge) == (unseen, None)
    assert found.num_strangers == len(found.lent) == 100
