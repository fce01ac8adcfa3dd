"""What a table of the report is: how it is measured, shown, and laid out in report.json."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.evaluation.judge import Judge
from training.evaluation.section import Section

R = TypeVar("R")


@dataclass(frozen=True)
class ReportTable(Generic[R]):
    """A table of the report; R is a frozen dataclass of its results.

    Attributes:
        name: a short lower-case word, its key in report.json.
        measure: asks the judge; None where the data do not allow it.
        section: what people read of the results, in the terminal and on the page; None where they
            conclude nothing.
        layout: where results go in report.json, deep-merged with the other tables', so that a part
            may stand inside another table's results; under the table's name by default, which is
            left out where nothing was measured.
    """

    name: str
    measure: Callable[[Judge], R | None]
    section: Callable[[R], Section | None]
    layout: Callable[[R | None], Mapping[str, object]] | None = None

    def laid_out(self, result: R | None) -> Mapping[str, object]:
        """The results at their keys of report.json."""
        if self.layout is not None:
            return self.layout(result)
        return {} if result is None else {self.name: result}
