"""What there is to run, what is done, and how many hours are left."""

from collections.abc import Iterable, Sequence

from recsys.cli.output import show_table
from training.claims.answers import CellAnswers
from training.claims.design import Design, TrainedCell
from training.claims.work import Piece, Work
from training.fitting.plan import Plan
from training.fitting.validation import NUM_PAIRS

# Processor seconds of the parts of a run behind three layers, each measured on a busy core.
FIRST_STEP_S, SECOND_STEP_S = 0.54, 0.49
"""A step of either stage, of 16 people with 8 pairs each: the median of 21."""

PERSON_S, PAIR_S, REFERENCE_S = 0.0030, 0.0008, 0.0009
"""A person who is asked, and for each of their pairs and of the references that are read."""

IMAGE_S = 0.0021
"""To read an image's tokens, which every run does once for each group of people; layers of the
decoder have no part in it."""


def show_pieces(work: Work, names: Sequence[str] = ()) -> None:
    """Print the cells, how many of their seeds are done and how long a run takes.

    Args:
        work: of a folder.
        names: of cells; all by default.

    Raises:
        ValueError: as `Work.pieces`.
    """
    pieces = work.pieces(names)
    pace = _pace(work.design, pieces)
    rows = []
    for cell in dict.fromkeys(piece.cell for piece in pieces):
        own = [piece for piece in pieces if piece.cell is cell]
        done = [_took_s(each) for each in _complete(own)]
        run_s = sum(done) / len(done) if done else pace * expected_s(work.design, cell)
        rows.append(
            (
                cell.name,
                cell.base,
                cell.trains,
                cell.num_tokens,
                cell.num_people,
                f"{len(done)} of {len(own)}",
                f"{run_s / 60:.0f}{'' if done else ' (expected)'}",
            )
        )
    show_table(("cell", "base", "trains", "tokens", "people", "seeds", "minutes of a core"), rows)
    for name in dict.fromkeys(piece.cell.base for piece in pieces):
        print(f"base {name}: {work.bases.making(name)}")
    left = [piece.cell for piece in pieces if piece.missing]
    hours = pace * sum(expected_s(work.design, cell) for cell in left) / 3600
    beside = f"about {hours:.1f} hours of a core, beside people and bases"
    print(f"{len(left)} of {len(pieces)} runs are left: {beside}")


def expected_s(design: Design, cell: TrainedCell) -> float:
    """Processor seconds of a run, added up from the parts above; images are encoded before.

    Args:
        design: whose people are asked.
        cell: that is trained and judged.
    """
    recipe, most = design.recipe(cell, design.seeds[0]), design.reference_counts[-1]
    first, second = recipe.first.plan, recipe.second.plan
    num_validated = 1 + _num_validations(first) + _num_validations(second)  # once to calibrate
    expected = first.num_steps * FIRST_STEP_S + second.num_steps * SECOND_STEP_S
    expected += num_validated * _asked_s(design.num_validation, NUM_PAIRS, [most])
    read = [design.learners, design.trained, *design.new]
    for world in read[1:]:
        expected += _asked_s(world.num_users, design.num_pairs, design.reference_counts)
    if design.learners.name in design.groups_of(cell):
        number = len(design.seeds) * min(cell.num_people, design.num_known)
        expected += _asked_s(number, design.num_known_pairs, [most])
        read.append(design.learners)  # once more, for these are asked about other images
    return expected + IMAGE_S * sum(world.num_images for world in read)


def _num_validations(plan: Plan) -> int:
    return sum(map(plan.is_validated, range(plan.num_steps)))


def _asked_s(num_people: int, num_pairs: int, counts: Iterable[int]) -> float:
    """Of people asked about so many pairs each, behind each of these numbers of references."""
    each = (PERSON_S + num_pairs * PAIR_S + count * REFERENCE_S for count in counts)
    return num_people * sum(each)


def _pace(design: Design, pieces: Sequence[Piece]) -> float:
    """How many times as long as expected those took that are done; 1 where none is."""
    cells = [piece.cell for piece in pieces if piece.answers and not piece.missing]
    took = sum(map(_took_s, _complete(pieces)))
    return took / sum(expected_s(design, cell) for cell in cells) if cells else 1.0


def _complete(pieces: Sequence[Piece]) -> list[CellAnswers]:
    return [piece.answers for piece in pieces if piece.answers and not piece.missing]


def _took_s(answers: CellAnswers) -> float:
    return answers.fit_s + answers.judge_s
