"""What there is to run, what is done, and how many hours are left."""

from collections.abc import Sequence

from recsys.cli.output import show_table
from training.claims.answers import CellAnswers
from training.claims.bases import making
from training.claims.work import Work

RUN_S = 1100.0
"""Processor seconds of the centre's run, where none was measured yet.

Added up from its parts, each measured on a busy core: 0.77 s a step of stage 1 and 0.69 of stage 2,
and 5.8, 7.3 and 9.7 ms a pair behind 0, 2 and 8 references, in judgement and validation.
"""


def show_pieces(work: Work, names: Sequence[str] = ()) -> None:
    """Print the cells, how many of their seeds are done and how long a run takes.

    Args:
        work: of a folder.
        names: of cells; all by default.

    Raises:
        ValueError: as `Work.pieces`.
    """
    pieces = work.pieces(names)
    took = [piece.answers for piece in pieces if piece.answers and not piece.missing]
    rows = []
    for cell in dict.fromkeys(piece.cell for piece in pieces):
        own = [piece for piece in pieces if piece.cell is cell]
        done = [piece.answers for piece in own if piece.answers and not piece.missing]
        rows.append(
            (
                cell.name,
                cell.base,
                cell.trains,
                cell.num_tokens,
                cell.num_people,
                f"{len(done)} of {len(own)}",
                f"{_mean_s(done or took) / 60:.0f}{'' if done else ' (expected)'}",
            )
        )
    show_table(("cell", "base", "trains", "tokens", "people", "seeds", "minutes of a core"), rows)
    for name in dict.fromkeys(piece.cell.base for piece in pieces):
        print(f"base {name}: {making(name, work.bases, work.checkpoint)}")
    left = sum(bool(piece.missing) for piece in pieces)
    hours = left * _mean_s(took) / 3600
    beside = f"about {hours:.1f} hours of a core, beside people and bases"
    print(f"{left} of {len(pieces)} runs are left: {beside}")


def _mean_s(answers: Sequence[CellAnswers]) -> float:
    if not answers:
        return RUN_S
    return sum(each.fit_s + each.judge_s for each in answers) / len(answers)
