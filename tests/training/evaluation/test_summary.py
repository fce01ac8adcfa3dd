"""The report's first sentences: of what was measured alone, and no surer than their figures."""

from dataclasses import replace

from training.evaluation.answers import Compared
from training.evaluation.metrics import Figure
from training.evaluation.results import Results
from training.evaluation.signature_figures import NotMeasured, Rival, Signatures
from training.evaluation.summary import picture, summary
from training.evaluation.tables.baselines import Baselines
from training.evaluation.tables.bounds import Bounds
from training.evaluation.tables.cold_start import ColdStartFigures, Ways
from training.evaluation.tables.controls import Controls
from training.evaluation.tables.main_figures import MainFigures
from training.evaluation.tables.seen import Seen


def figure(value: float, width: float = 0.1) -> Figure:
    return Figure(value, value - width, value + width, n_users=1200, n_pairs=9600)


def results(**by_table: object) -> Results:
    return Results("final", "abc", "def", "2026-11-23", 0, 8, "cpu", "float32", by_table)


MAIN = MainFigures(figure(0.7))
BASELINES = Baselines(
    {
        "user_knn": Compared(figure(0.5), figure(0.2)),
        "linear": Compared(figure(0.65), figure(0.05, 0.02)),
    }
)
CONTROLS = Controls(*map(figure, (0.5, 0.2, 0.3, 0.3, 0.68)))
BOUNDS = Bounds(*map(figure, (0.85, 0.73, 0.68, 0.57, 0.8)))
SIGNATURES = Signatures(
    num_users=7,
    num_references=8,
    num_whole=24,
    served="both",
    num_probes=32,
    num_orders=2,
    dimension=16,
    chance_mrr=0.0123,
    stability=figure(0.99),
    drift={},
    rivals={"shipped": Rival(taste=figure(0.456), mrr=figure(0.3))},
    shipped_minus=Rival(),
)


def cold_start(*gains: Figure) -> ColdStartFigures:
    half = figure(0.5)
    ways = {str(2 * n): Ways(half, half, half, gain) for n, gain in enumerate(gains)}
    return ColdStartFigures(20, 948, 3, ways, ())


def test_five_sentences_tell_the_whole() -> None:
    sentences = summary(
        results(
            unseen=MAIN,
            seen=Seen(figure(0.71)),
            controls=CONTROLS,
            baselines=BASELINES,
            bounds=BOUNDS,
            signatures=SIGNATURES,
            cold_start=cold_start(figure(0.03, 0.01), figure(0.0)),
        )
    )
    assert sentences == [
        "The model was asked about 9,600 pairs of 1,200 people whom it never learned from and"
        " 9,600 pairs of 1,200 people whom it learned from: which of the two images did the person"
        " like?",
        "It puts the liked image first in 70.0 % (60.0 to 80.0) of the pairs of people whom it"
        " never learned from, where chance is 50 %; the best baseline (linear) does in 65.0 %, a"
        " difference of +5.0 points (+3.0 to +7.0); the best possible from the same references is"
        " 73.0 %.",
        "A person's own history is worth +20.0 points (+10.0 to +30.0): behind another person's it"
        " is 50.0 %.",
        "On a scale from 0 (random users) to 1 (the users whose tastes are truly nearest),"
        " neighbours found by signature are at 0.46 (0.36 to 0.56).",
        "Cold start, that is learning from what others chose, changes the share of pairs ranked"
        " correctly by +3.0 points (+2.0 to +4.0) for people with no choice of their own"
        " and +0.0 points (-10.0 to +10.0),"
        " perhaps nothing, for people with 2 choices of their own.",
    ]


def test_only_what_was_measured_is_told() -> None:
    assert summary(results()) == []
    assert picture(results()) is None
    assert len(summary(results(unseen=MAIN))) == 2
    alone = summary(results(unseen=MAIN))[1]
    assert "baseline" not in alone
    assert "best possible" not in alone
    assert summary(results(signatures=NotMeasured("nobody"))) == []


def test_a_difference_that_may_be_none_is_called_so() -> None:
    doubtful = Baselines({"linear": Compared(figure(0.69), figure(0.01))})
    sentence = summary(results(unseen=MAIN, baselines=doubtful))[1]
    assert "a difference of +1.0 points (-9.0 to +11.0), too near to tell them apart" in sentence
    better = Baselines({"linear": Compared(figure(0.8), figure(-0.1, 0.01))})
    assert summary(results(unseen=MAIN, baselines=better))[1].endswith(
        "80.0 %, a difference of -10.0 points (-11.0 to -9.0)."
    )


def test_no_change_at_all_is_called_nothing() -> None:
    sentence = summary(results(cold_start=cold_start(figure(0.0, 0.0))))[0]
    assert sentence.endswith("ranked correctly by nothing for people with no choice of their own.")


def test_of_figures_without_a_number_nothing_is_told() -> None:
    nan = figure(float("nan"))
    unknown = results(
        unseen=MainFigures(nan),
        controls=Controls(nan, nan, nan, nan, nan),
        signatures=replace(SIGNATURES, rivals={"shipped": Rival(taste=nan, mrr=nan)}),
        cold_start=cold_start(nan),
    )
    assert len(summary(unknown)) == 1
    assert picture(unknown) is None


def test_without_a_world_the_other_half_is_told() -> None:
    judged = replace(SIGNATURES, rivals={"shipped": Rival(mrr=figure(0.3))})
    assert summary(results(signatures=judged)) == [
        "The signature of one half of a history finds the other half with a mean reciprocal rank of"
        " 0.300 (0.012 by chance)."
    ]


def test_the_picture_shows_the_checkpoint_bounds_and_baselines() -> None:
    plot = picture(results(unseen=MAIN, baselines=BASELINES, bounds=BOUNDS))
    assert plot is not None
    svg = plot.draw()
    for name in ("this checkpoint", "if each taste were known", "user knn", "linear"):
        assert name in svg
