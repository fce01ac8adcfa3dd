"""The page of the claims: what was found, how certainly, and what could not have been seen."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.claims.contrasts import (
    CLAIMS,
    GAP_CELLS,
    GAP_CONTRASTS,
    Answered,
    Claim,
    Contrast,
)
from training.claims.design import CONTRASTED, FEWER_REFERENCES, TrainedCell
from training.claims.estimates import Estimate
from training.claims.published import published_section
from training.claims.work import Piece, Work
from training.evaluation.section import NOTHING, hundredths, markdown, points

_INTRODUCTION = """\
# The paper's claims, tested

Does the contrastive loss help, do preference tokens, how many of them are best, and is there a
gap between people learned from and others? One thing is changed at a time. As in the paper, the
bases never saw preference tokens: P_v begin uniform in [0, 1) wherever there are any, however
many, and the base as it is has none. Differences are paired by person, and intervals are over
people and runs, on new communities over populations and runs. *Detectable* is the smallest true
difference that such a comparison finds four times in five: what is not told from zero may still
be as large as that.

{facts}"""

_GAP = """\
## People learned from and others

The paper: seen less unseen is 0.31 points with P_v and 1.28 without (Tab. 3). Here a person is
seen by one run and unseen by those of the other seeds, who learned from other people. All are
asked the same pairs, of prompts that nobody learns from, behind the same references."""

_LIMITS = """\
## What this does not show

The model has a few hundred thousand weights, and the world is drawn: a few hundred steps on it
neither contradict nor confirm what a model of 8 billion parameters learns from photographs. Of
twenty differences that are zero, one is told from zero by chance. In pretraining each number of
references up to {references} comes up; of the samples that cells learn from, {fewer:.0f} % are
behind fewer than {references}, and the others behind {references}. A base is pretrained once, so
what its own loss did has no interval and no verdict. Nothing stood before a sequence in
pretraining, so P_v are new to a base: LoRA can learn to read them, P_v alone have to make do with
how the base reads. The shipped checkpoint's base was pretrained otherwise, behind tokens that tell
of communities; what P_v are worth on it is not measured here."""

_ESTIMATED = ("points", "95 % interval", "detectable", "seeds", "verdict")
_ONE_BASE = "none: one base of either kind (n = 1)"


def page(work: Work) -> str:
    """The page in Markdown, of all complete runs there are.

    Raises:
        ValueError: if runs of one base had different ones, or were asked different questions.
    """
    pieces = work.pieces()
    check_alike(pieces)
    told = {(p.cell.name, p.seed): p.answers for p in pieces if p.answers and not p.missing}
    answered = Answered(work.design, told)
    blocks = [
        _INTRODUCTION.format(facts=_facts(work, pieces)),
        *_cells(answered),
        *(block for claim in CLAIMS for block in claim_section(answered, claim)),
        *_gaps(answered),
        published_section(),
        _LIMITS.format(references=work.design.reference_counts[-1], fewer=100 * FEWER_REFERENCES),
    ]
    return "\n\n".join(blocks) + "\n"


def check_alike(pieces: Sequence[Piece]) -> None:
    """Check that what is compared began with the same bases and was asked the same.

    Raises:
        ValueError: if not.
    """
    bases: dict[str, str] = {}
    asked: dict[str, str] = {}
    for piece in pieces:
        if piece.answers is None:
            continue
        where = f"the answers of {piece.cell.name}, seed {piece.seed},"
        if bases.setdefault(piece.cell.base, piece.answers.base) != piece.answers.base:
            raise ValueError(
                f"{where} must begin with the base {piece.cell.base} that the others have, and"
                " began with another: remove them, and run again"
            )
        for name, group in piece.answers.groups.items():
            if asked.setdefault(name, group.digest) != group.digest:
                raise ValueError(
                    f"{where} must be to the questions about {name} that the others were asked, and"
                    " are to different ones: remove them, and run again"
                )


def summary(found: Sequence[Estimate]) -> str:
    """What can be said of some differences together."""
    above = sum(each.interval[0] > 0 for each in found)
    below = sum(each.interval[1] < 0 for each in found)
    text = f"Of {len(found)} differences {above} are above zero with their interval, {below} below."
    unsure = [e.detectable for e in found if e.interval[0] <= 0 <= e.interval[1]]
    if unsure:
        least, most = hundredths(min(unsure)), hundredths(max(unsure))
        text += (
            f" The other {len(unsure)} are not told from zero, and would have been from {least}"
            f" points on where the comparison is finest, from {most} where it is coarsest."
        )
    return text


def _facts(work: Work, pieces: Sequence[Piece]) -> str:
    design = work.design
    judged = (design.trained, *design.new)
    new = f"{len(design.new)} × {design.new[0].num_users:,}"
    missing = dict.fromkeys(piece.cell.name for piece in pieces if piece.missing)
    num_done = sum(not piece.missing for piece in pieces)
    rows = [
        (
            "runs",
            f"{num_done} of {len(pieces)}: {len(design.cells)} cells, {len(design.seeds)} seeds",
        ),
        ("not complete", ", ".join(missing) or NOTHING),
        (
            "a run",
            f"{design.num_steps} steps of stage 1 and {design.num_last_steps} of stage 2; where P_v"
            f" are trained alone, {design.num_steps} of stage 2; the base as it is has one run, for"
            " nothing in it is drawn",
        ),
        ("weights kept", f"best on {design.num_validation} people who are nobody else's"),
        (
            "judged",
            f"{design.trained.num_users:,} people of the learners' communities, {new} of new ones;"
            f" worlds of seeds {judged[0].seed} to {judged[-1].seed}, chosen before any training",
        ),
        *(
            (f"base `{name}`", f"`{work.bases.making(name, folder=Path('bases'))}`")
            for name in dict.fromkeys(cell.base for cell in design.cells)
        ),
        ("changed in all", ", ".join(f"`{each}`" for each in work.changes) or "nothing"),
        ("command", "`make claims`"),
    ]
    return markdown(("", ""), rows)


def _cells(answered: Answered) -> Iterator[str]:
    counts = answered.design.reference_counts
    ways = [("trained", answered.on_trained), ("new", answered.on_new)]
    heads = ("cell", "trained is", "tokens", "learners", "P_v moved by")
    rows = []
    for cell in answered.design.cells:
        if answered.seeds(cell.name):
            reached = [ask(cell.name, None, count) for _, ask in ways for count in counts]
            rows.append((*_described(answered, cell), *map(_share, reached)))
    yield "## What each cell reaches"
    if not rows:
        yield "No cell is complete."
        return
    yield (
        "Top-1 in percent with its 95 % interval, on people of the trained and of new communities,"
        f" behind {', '.join(map(str, counts))} references. P_v moved by so much in each coordinate"
        " (root mean square); they begin between 0 and 1."
    )
    yield markdown([*heads, *(f"{name}, {count}" for name, _ in ways for count in counts)], rows)


def claim_section(answered: Answered, claim: Claim) -> Iterator[str]:
    """The blocks of a claim: what the paper says, what was found in all, and each difference."""
    counts = answered.design.reference_counts
    rows: list[tuple[object, ...]] = []
    found = []
    for contrast in claim.contrasts:
        for where, ask in (("trained", answered.on_trained), ("new", answered.on_new)):
            for count in counts if claim.by_references else counts[-1:]:
                estimate = ask(contrast.first, contrast.second, count)
                if estimate is None:
                    continue
                if answered.shares_a_base(contrast):
                    rows.append((contrast.name, where, count, *_estimated(estimate)))
                    found.append(estimate)
                else:
                    rows.append((contrast.name, where, count, *_between_bases(estimate)))
    yield f"## {claim.title}\n\nThe paper: {claim.said}"
    yield from _found(("difference", "communities", "references", *_ESTIMATED), rows, found)


def _gaps(answered: Answered) -> Iterator[str]:
    rows: list[tuple[object, ...]] = []
    found = []
    alone = [Contrast(f"seen less unseen, {cell}", cell, "") for cell in GAP_CELLS]
    for contrast in (*alone, *GAP_CONTRASTS):
        estimate = answered.gap(contrast.first, contrast.second or None)
        if estimate is not None:
            rows.append((contrast.name, estimate.num_units, *_estimated(estimate)))
            found.append(estimate)
    yield _GAP
    yield from _found(("difference", "people", *_ESTIMATED), rows, found)


def _found(
    heads: Sequence[str], rows: Sequence[Sequence[object]], found: Sequence[Estimate]
) -> Iterator[str]:
    if not rows:
        yield "No two cells that this compares are complete."
        return
    if found:
        yield summary(found)
    yield markdown(heads, rows)


def _estimated(estimate: Estimate) -> tuple[object, ...]:
    low, high = estimate.interval
    verdict = "above zero" if low > 0 else "below zero" if high < 0 else "not told from zero"
    between = f"{points(low)} to {points(high)}"
    detectable = hundredths(estimate.detectable)
    return points(estimate.value), between, detectable, estimate.num_seeds, verdict


def _between_bases(estimate: Estimate) -> tuple[object, ...]:
    """Seeds do not vary a base: what another one would have given, nothing here tells."""
    return points(estimate.value), NOTHING, NOTHING, estimate.num_seeds, _ONE_BASE


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    low, high = map(hundredths, estimate.interval)
    return f"{hundredths(estimate.value)} ({low} to {high})"


def _described(answered: Answered, cell: TrainedCell) -> tuple[object, ...]:
    what = {"all": "LoRA, P_v" if cell.num_tokens else "LoRA", "tokens": "P_v", "nothing": NOTHING}
    loss = "" if cell.contrastive else "; L_base alone"
    base = "" if cell.base == CONTRASTED else f"; base {cell.base}"
    people = NOTHING if cell.trains == "nothing" else f"{cell.num_people:,}"
    told = [each.token_shift for each in answered.runs(cell.name)]
    shifts = [each for each in told if each is not None]
    moved = f"{sum(shifts) / len(shifts):.2f}" if shifts else NOTHING
    return cell.name, what[cell.trains] + loss + base, cell.num_tokens, people, moved
