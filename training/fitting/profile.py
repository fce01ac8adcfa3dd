"""Where the time of a run's steps goes, and whether its data side would keep up with an H100."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from recsys.counts import counted
from recsys.image_tokens.cache import ImageTokenCache
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import read_values
from training.data.batches import Batches
from training.data.encoding import StepImages, Upcoming
from training.data.features import OpenTokens
from training.data.rates import DataRate, decoding_rate, token_rate
from training.data.samples import read_pair_table
from training.data.splits import split
from training.fitting.demand import PEAK_FLOPS, UTILISATION, Demand, demand, verdict
from training.fitting.recipes.recipe import Recipe, Stage
from training.fitting.stages import TOKENS_KEPT, Training, stage_batches
from training.fitting.step_clock import PHASES, StepClock

NUM_WARMUP_STEPS = 2
"""Done before those that are timed: workers start, and the first call of a kernel is slow."""

_MEASURED_PARTS = 100_000
"""More parts of a step than the data side is asked for while it is measured."""


@dataclass(frozen=True)
class StageProfile:
    """Where the time of a stage's steps goes.

    Attributes:
        name: of the stage.
        num_parts: of a step, in this process.
        step_ms: a step, on average.
        phases_ms: the same by phase.
        asked: of the data side, by an H100.
        rate: what the data side gives here.
        verdict: of the two, in a sentence.
    """

    name: str
    num_parts: int
    step_ms: float
    phases_ms: Mapping[str, float]
    asked: Demand
    rate: DataRate
    verdict: str


@dataclass(frozen=True)
class RunProfile:
    """A profile of a run, which kept nothing.

    Attributes:
        recipe: its name.
        device: that trained.
        num_workers: processes that decoded.
        num_steps: timed, of each stage.
        stages: in their order.
    """

    recipe: str
    device: str
    num_workers: int
    num_steps: int
    stages: Sequence[StageProfile]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with what was assumed of the H100."""
        values = asdict(self)
        for stage, plain in zip(self.stages, values["stages"], strict=True):
            plain["asked"]["images_per_s"] = stage.asked.images_per_s
        return values | {"h100": {"peak_flops": PEAK_FLOPS, "utilisation": UTILISATION}}


def profile(
    training: Training,
    *,
    num_steps: int,
    image_tokens: OpenTokens,
) -> RunProfile:
    """Time steps of both stages on the road of training, and keep nothing.

    Args:
        training: the run; its folder is not written to.
        num_steps: timed of each stage, after `NUM_WARMUP_STEPS`.
        image_tokens: opens where they are kept meanwhile; what made them may be thrown away.

    Raises:
        CheckpointRefused, Leakage, LossNotFinite, TooManyBadImages, ValueError: as
            `Training.timed_stages`.
    """
    opened: list[ImageTokenCache] = []

    def open_tokens(scorer: PreferenceScorer) -> ImageTokenCache:
        opened.append(image_tokens(scorer))
        return opened[-1]

    clock, profiles = StepClock(training.device), []
    with TemporaryDirectory(prefix="recsys-profile-") as folder:
        timed = replace(
            training,
            recipe=_short(training.recipe, NUM_WARMUP_STEPS + num_steps),
            folder=Path(folder),
            image_tokens=open_tokens,
            clock=clock,
        )
        for name in timed.timed_stages():
            if opened:
                opened[-1].flush()
            steps = clock.take_steps()[NUM_WARMUP_STEPS:]
            profiles.append((name, steps))
    data = _DataSide(training, num_steps)
    values = read_values(training.base_folder)
    stages = [data.profiled(name, steps, values, opened) for name, steps in profiles]
    return RunProfile(
        training.recipe.name, training.device, training.num_workers, num_steps, stages
    )


class _DataSide:
    """What stages read, and how fast they could.

    Args:
        training: the run.
        num_steps: timed of each stage.
    """

    def __init__(self, training: Training, num_steps: int) -> None:
        self._training = training
        self._num_steps = num_steps
        self._learned = split(
            read_pair_table(training.store, training.users), training.recipe.split
        ).train
        self._decoding: DataRate | None = None

    def profiled(
        self,
        name: str,
        steps: Sequence[Mapping[str, float]],
        values: Mapping[str, Any],
        opened: Sequence[ImageTokenCache],
    ) -> StageProfile:
        """The profile of a stage of seconds by phase of each step."""
        recipe = self._training.recipe
        is_first = name == recipe.first.plan.name
        stage = recipe.first if is_first else recipe.second
        phases_ms = {
            phase: 1e3 * sum(step.get(phase, 0.0) for step in steps) / len(steps)
            for phase in PHASES
        }
        parts = self._images(stage, range(NUM_WARMUP_STEPS, NUM_WARMUP_STEPS + self._num_steps))
        has_tokens = name.endswith(TOKENS_KEPT)
        asked = demand(
            recipe,
            values,
            num_images=0.0 if recipe.encodes_once else sum(map(len, parts)) / len(parts),
            is_first=is_first,
            has_tokens=has_tokens,
        )
        if has_tokens:
            rate = token_rate(opened[-1], dict.fromkeys(name for part in parts for name in part))
        else:
            rate = self._decoding_rate(stage)
        num_parts = len(self._training.processes.share(stage.plan.num_parts))
        step_ms = sum(phases_ms.values())
        return StageProfile(name, num_parts, step_ms, phases_ms, asked, rate, verdict(asked, rate))

    def _decoding_rate(self, stage: Stage) -> DataRate:
        """Measured once: stages read images of the same users."""
        if self._decoding is None:
            num_steps = _MEASURED_PARTS // stage.plan.num_parts
            self._decoding = decoding_rate(
                self._training.store,
                self._images(stage, range(num_steps)),
                limits=self._training.limits,
                geometry=self._training.recipe.base.geometry,
                num_workers=self._training.num_workers,
            )
        return self._decoding

    def _images(self, stage: Stage, steps: range) -> StepImages:
        """SHA-256 of the images of each part of some steps, drawn when asked for."""
        drawn: Batches = stage_batches(self._learned, self._training.recipe, stage)
        parts = self._training.processes.share(stage.plan.num_parts)
        return Upcoming(drawn, steps.stop, parts).names((steps.start, 0))


def _short(recipe: Recipe, num_steps: int) -> Recipe:
    """The recipe with so many steps of each stage that has any, and nothing between them."""

    def shortened(stage: Stage) -> Stage:
        num = num_steps if stage.plan.num_steps else 0
        return replace(stage, plan=replace(stage.plan, num_steps=num, validate_every=0))

    return replace(recipe, first=shortened(recipe.first), second=shortened(recipe.second))


def show_profile(run: RunProfile, console: Console) -> None:
    """Print where the time goes, and how what an H100 asks for was computed, as tables."""
    for stage in run.stages:
        table = Table("phase", title=f"{run.recipe}, {stage.name}")
        for column in ("ms a step", "%"):
            table.add_column(column, justify="right")
        for phase, ms in stage.phases_ms.items():
            table.add_row(phase, f"{ms:,.1f}", f"{100 * ms / stage.step_ms:.1f}")
        table.add_row("total", f"{stage.step_ms:,.1f}", "100.0")
        console.print(table)
        _show_demand(stage, console)
    console.print(
        f"Mean of {counted(run.num_steps, 'step')} after {NUM_WARMUP_STEPS} of warm-up on"
        f" {run.device}. Phases wait for the device, so nothing overlaps, and a step takes a little"
        " longer than without a clock. Backward passes have the layers that they compute again."
    )


def _show_demand(stage: StageProfile, console: Console) -> None:
    asked, rate = stage.asked, stage.rate
    part_ms = stage.step_ms / stage.num_parts
    console.print(
        f"A step has {counted(stage.num_parts, 'part')} of {asked.flops:.2e} FLOPs here, as a dry"
        f" run counts them: {asked.flops / part_ms * 1e3:.2e} FLOP/s."
    )
    console.print(
        f"H100: {asked.flops:.2e} FLOPs / ({PEAK_FLOPS / 1e12:.0f} TFLOP/s dense bfloat16 by its"
        f" data sheet x {UTILISATION:.0%}, assumed) = {asked.part_s * 1e3:,.3g} ms a part;"
        f" {asked.num_images:.1f} images a part / {asked.part_s * 1e3:,.3g} ms ="
        f" {asked.images_per_s:,.0f} images/s. Measured here without the model:"
        f" {rate.source}, {counted(rate.num_workers, 'worker')}, {rate.images_per_s:,.0f} images/s."
    )
    console.print(stage.verdict)
