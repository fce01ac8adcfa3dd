"""What a report says in five sentences, and its one picture."""

from collections.abc import Iterator

from recsys.counts import counted
from training.evaluation.metrics import Figure
from training.evaluation.plots import accuracy_plot
from training.evaluation.results import Results
from training.evaluation.section import (
    Plot,
    hundredths,
    interval,
    is_known,
    known,
    number,
    percent,
    points,
    with_interval,
)
from training.evaluation.signature_figures import NotMeasured
from training.evaluation.tables import (
    baselines,
    bounds,
    cold_start,
    controls,
    main_figures,
    seen,
    signatures,
)


def summary(results: Results) -> list[str]:
    """At most five sentences in plain English, only of what was measured."""
    sentences = (_who, _main, _own_history, _signatures, _cold_start)
    return [text for each in sentences for text in each(results)]


def picture(results: Results) -> Plot | None:
    """The checkpoint beside what a world allows and the baselines."""
    main = results.of(main_figures.TABLE)
    if main is None:
        return None
    rows: list[tuple[str, Figure | None]] = [("this checkpoint", main.top1)]
    if (allowed := results.of(bounds.TABLE)) is not None:
        rows += [
            ("if each taste were known", allowed.known_taste),
            ("best possible from the same references", allowed.best_possible),
            ("the average taste", allowed.average_taste),
        ]
    if (others := results.of(baselines.TABLE)) is not None:
        rows += [(name.replace("_", " "), each.top1) for name, each in others.by_name.items()]
    shown = known(rows)
    caption = (
        "One liked image against one disliked, of users never learned from. "
        "Dots are means, bars 95 % intervals, the dotted line is chance."
    )
    return Plot(lambda: accuracy_plot(shown), caption) if shown else None


def _who(results: Results) -> Iterator[str]:
    main, known_users = results.of(main_figures.TABLE), results.of(seen.TABLE)
    groups = []
    if main is not None:
        groups.append(f"{_people(main.top1)} whom it never learned from")
    if known_users is not None:
        groups.append(f"{_people(known_users.top1)} whom it learned from")
    if groups:
        yield (
            f"The model was asked about {' and '.join(groups)}: which of the two images did the"
            " person like?"
        )


def _people(figure: Figure) -> str:
    return f"{counted(figure.n_pairs, 'pair')} of {counted(figure.n_users, 'person', 'people')}"


def _main(results: Results) -> Iterator[str]:
    main = results.of(main_figures.TABLE) or results.of(seen.TABLE)
    if main is None or not is_known(main.top1):
        return
    groups = results.of(main_figures.TABLE), results.of(seen.TABLE)
    whose = " of the pairs of people whom it never learned from" if all(groups) else ""
    clauses = [f"It puts the liked image first in {_share(main.top1)}{whose}, where chance is 50 %"]
    clauses += _best_baseline(results)
    allowed = results.of(bounds.TABLE)
    if allowed is not None and is_known(allowed.best_possible):
        best = percent(allowed.best_possible.value)
        clauses.append(f"the best possible from the same references is {best}")
    yield f"{'; '.join(clauses)}."


def _best_baseline(results: Results) -> Iterator[str]:
    others = results.of(baselines.TABLE)
    asked = others.by_name if others is not None else {}
    measured = {name: each for name, each in asked.items() if is_known(each.top1)}
    if measured:
        name = max(measured, key=lambda each: measured[each].top1.value)
        less, top1 = measured[name].ours_minus, measured[name].top1
        doubt = "" if _is_certain(less) else ", too near to tell them apart"
        yield (
            f"the best baseline ({name.replace('_', ' ')}) does in {percent(top1.value)},"
            f" a difference of {_points(less)}{doubt}"
        )


def _own_history(results: Results) -> Iterator[str]:
    control = results.of(controls.TABLE)
    if control is not None and is_known(control.personal):
        yield (
            f"A person's own history is worth {_points(control.personal)}: behind another person's"
            f" it is {percent(control.shuffled_history.value)}."
        )


def _signatures(results: Results) -> Iterator[str]:
    judged = results.of(signatures.TABLE)
    if judged is None or isinstance(judged, NotMeasured):
        return
    own = judged.rivals["shipped"]
    if own.taste is not None and is_known(own.taste):
        yield (
            "On a scale from 0 (random users) to 1 (the users whose tastes are truly nearest),"
            f" neighbours found by signature are at {with_interval(own.taste, number)}."
        )
    elif own.mrr is not None and is_known(own.mrr):
        yield (
            "The signature of one half of a history finds the other half with a mean reciprocal"
            f" rank of {number(own.mrr.value, 3)} ({number(judged.chance_mrr, 3)} by chance)."
        )


def _cold_start(results: Results) -> Iterator[str]:
    figures = results.of(cold_start.TABLE)
    if figures is None:
        return
    gains = {int(count): each.gain for count, each in figures.by_references.items()}
    choices = {0: "no choice", 2: "2 choices"}
    parts = [
        f"{_change(gains[count])} for people with {own} of their own"
        for count, own in choices.items()
        if count in gains and is_known(gains[count])
    ]
    if parts:
        yield (
            "Cold start, that is learning from what others chose, changes the share of pairs ranked"
            f" correctly by {' and '.join(parts)}."
        )


def _share(figure: Figure) -> str:
    return f"{percent(figure.value)} ({interval(figure, hundredths)})"


def _points(figure: Figure) -> str:
    return f"{points(figure.value)} points ({interval(figure, points)})"


def _change(figure: Figure) -> str:
    if figure.low == figure.high == 0:
        return "nothing"
    return _points(figure) + ("" if _is_certain(figure) else ", perhaps nothing,")


def _is_certain(figure: Figure) -> bool:
    """Whether its interval excludes no difference."""
    return not figure.low <= 0 <= figure.high
