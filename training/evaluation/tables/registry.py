"""The report's tables in their order: a new one is a module beside this one, and a line here."""

from typing import Any

from training.evaluation.tables import (
    ablations,
    as_paper,
    attention,
    baselines,
    bounds,
    by_references,
    calibration,
    cold_start,
    controls,
    first_questions,
    main_figures,
    one_of_four,
    order,
    seen,
    signatures,
)
from training.evaluation.tables.table import ReportTable

TABLES: tuple[ReportTable[Any], ...] = (
    main_figures.TABLE,
    as_paper.TABLE,
    controls.TABLE,
    one_of_four.TABLE,
    seen.TABLE,
    bounds.TABLE,
    by_references.TABLE,
    baselines.TABLE,
    ablations.TABLE,
    order.TABLE,
    calibration.TABLE,
    attention.TABLE,
    cold_start.TABLE,
    first_questions.TABLE,
    signatures.TABLE,
)
