"""One adaptation of the demonstration: what is printed is what was measured."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from recsys.scorer.checkpoint import load_scorer
from training.demo import new_population
from training.demo.new_population import Measured, NewPopulation, adapt_to, show_adaptation
from training.evaluation.comparison import compare
from training.evaluation.four_ways import FourWays
from training.evaluation.metrics import Figure
from training.fitting.adapting.tuning import Tuning

FEW = NewPopulation(
    num_people=(6, 5), num_choices=8, num_prompts=10, num_users=3, tuning=Tuning(num_steps=2)
)


@pytest.fixture
def checkpoint(save_small, monkeypatch) -> Path:
    """A small one that reads two references; the settings name it."""
    folder = save_small("small")
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(folder))
    return folder


@pytest.fixture
def spied(monkeypatch) -> Callable[[str], list]:
    """Given the name of a function of the module: its calls, as (arguments, keywords, result)."""

    def spy(name: str) -> list:
        calls, original = [], getattr(new_population, name)

        def called(*arguments, **keywords):
            result = original(*arguments, **keywords)
            calls.append((arguments, keywords, result))
            return result

        monkeypatch.setattr(new_population, name, called)
        return calls

    return spy


def test_others_are_asked_before_and_after_tokens_alone_are_trained(
    checkpoint, spied, tmp_path
) -> None:
    asked, trained, dealt = map(spied, ("answers_by_references", "learn", "_deal"))
    told: list[str] = []
    measured = adapt_to(FEW, tmp_path / "one", progress=told.append)
    assert measured is not None

    ((_, _, parts),) = dealt
    assert {user.split("-")[0] for user in parts.learned.pairs} == {"s20001"}
    assert {user.split("-")[0] for user in parts.comparison} == {"s20002"}
    assert (measured.num_learned, len(parts.comparison)) == (6, 5)
    learned, shown = (
        {row for pairs in own for pair in pairs for row in (pair.liked, pair.disliked)}
        for own in (
            parts.learned.pairs.values(),
            [(*each.references, *each.pairs) for each in parts.comparison.values()],
        )
    )
    assert learned
    assert shown
    assert not learned & shown

    (before, after) = (result for _, _, result in asked)
    assert measured.ways.alone == compare(before, after)
    assert list(measured.gains) == [0, 2]  # as many as this checkpoint reads
    (((scorer, _), by, _),) = trained
    assert by["plan"].num_steps == 2
    assert set(by["drawn"].users) == set(parts.learned.pairs)
    was, now = dict(load_scorer(checkpoint).named_parameters()), dict(scorer.named_parameters())
    assert {name for name in was if not was[name].equal(now[name])} == {"preference_tokens"}
    assert measured.num_tokens == 3
    assert told == [
        "reading their images",
        "asking before",
        "training the preference tokens",
        "asking after",
    ]


def test_the_same_population_comes_out_the_same(checkpoint, tmp_path) -> None:
    first, second = (adapt_to(FEW, tmp_path / name) for name in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.ways == second.ways
    assert 0 < first.training_s < first.seconds


def test_a_checkpoint_without_preference_tokens_is_left_as_it_is(
    make_scorer, monkeypatch, tmp_path
) -> None:
    bare = make_scorer(num_references=2, num_preference_tokens=0)
    monkeypatch.setattr("recsys.runtime.Runtime.load_scorer", lambda *_: bare)
    console = Console(file=StringIO(), width=100)
    show_adaptation(console, FEW)
    assert console.file.getvalue() == (
        "The checkpoint has no preference tokens that could be adapted.\n\n"
    )


def margins(*rights: int, of: int = 4) -> dict[str, np.ndarray]:
    """Of each person so many pairs right, and the others wrong."""
    return {f"u{n}": np.where(np.arange(of) < k, 1.0, -1.0) for n, k in enumerate(rights)}


def test_the_table_and_its_sentences_say_what_was_measured(monkeypatch, capsys) -> None:
    comparison = compare(
        {0: margins(1, 2, 1, 2), 8: margins(3, 2, 3, 2)},
        {0: margins(2, 3, 2, 3), 8: margins(4, 1, 4, 1)},
    )
    best = {0: Figure(0.875, 0.8, 0.9, 4, 16), 8: Figure(0.9, 0.85, 0.95, 4, 16)}
    measured = Measured(FourWays(comparison, best_possible=best), 61, 12, 9.4, 21.3)
    monkeypatch.setattr(new_population, "adapt_to", lambda *_, **__: measured)
    console = Console(file=StringIO(), width=100)
    show_adaptation(console, FEW)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (zero,) = [" ".join(row) for row in rows if row[:1] == ["0"]]
    assert zero == "0 37.5 % 62.5 % +25.0 (+25.0 to +25.0) 87.5 %"
    (eight,) = [" ".join(row) for row in rows if row[:1] == ["8"]]
    assert re.fullmatch(r"8 62\.5 % 62\.5 % \+0\.0 \(-\S+ to \+\S+\) 90\.0 %", eight)
    said = console.file.getvalue()
    assert "its 12 preference tokens alone are trained on 61 users" in said
    assert "4 others are asked about 16 pairs" in said
    assert "Behind 0 references more are right than before." in said
    assert "Behind 8 references the interval includes zero" in said
    assert "The training took 9 s, all of it 21 s" in said


def test_a_loss_is_told_too(monkeypatch, capsys) -> None:
    comparison = compare({0: margins(4, 3, 4)}, {0: margins(1, 0, 1)})
    measured = Measured(FourWays(comparison), 5, 3, 1.0, 2.0)
    monkeypatch.setattr(new_population, "adapt_to", lambda *_, **__: measured)
    console = Console(file=StringIO(), width=100)
    show_adaptation(console, FEW)
    assert "Behind 0 references fewer are right than before." in console.file.getvalue()
    assert "-75.0 (-75.0 to -75.0)" in capsys.readouterr().out
