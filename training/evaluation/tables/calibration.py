"""Is an image with Q = 70 % liked in 70 % of cases?"""

import numpy as np

from training.evaluation.calibration import Calibration, calibrate
from training.evaluation.judge import Judge
from training.evaluation.plots import reliability_plot
from training.evaluation.section import Plot, Section, number, percent
from training.evaluation.tables.table import ReportTable


def measure(judge: Judge) -> Calibration | None:
    """Compare the unseen users' scores with what they liked."""
    if not judge.asked.unseen:
        return None
    rows = np.concatenate(list(judge.own_scores("unseen").values()))
    return calibrate(rows[:, 0], rows[:, 1], temperature=judge.scorer.config.temperature)


def section(result: Calibration) -> Section:
    """The expected calibration errors, and both curves."""
    sentence = (
        f"The expected calibration error is {percent(result.ece)}, and {percent(result.ece_scaled)}"
        f" at the checkpoint's temperature {number(result.temperature)}."
    )
    caption = "Larger marks stand for more images; on the diagonal Q means what it says."
    plot = Plot(lambda: reliability_plot(result.bins, result.bins_scaled), caption)
    return Section("Calibration", [sentence, plot])


TABLE = ReportTable("calibration", measure, section)
