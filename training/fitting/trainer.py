"""The training loop: optimizer steps that can be killed at any instant and resume where saved.

All randomness of step k is drawn from (seed, k, part), so a resumed run does the same steps as one
that was never stopped, and no generator's state need be saved.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from recsys.scorer.pretrained import is_finite
from training.fitting.loss_scaling import LossScaling
from training.fitting.optimizer import Optimizers
from training.fitting.parallel import Processes
from training.fitting.plan import Plan, schedule
from training.fitting.run_log import RunLog
from training.fitting.run_state import BestFile, StateFile, identity_of
from training.fitting.step_clock import BACKWARD, OFF, OPTIMIZER, StepClock

StepLoss = Callable[[int, int], tuple[Tensor, dict[str, float]]]
"""Given the step's number and the part of it, both from 0: the loss, and figures for the log."""

Identify = Callable[[int, int], object]
"""Given step and part: what was in that batch, in values that JSON can hold."""

ONE = Processes()


@dataclass(frozen=True, eq=False)
class Run:
    """Where a run is kept and who takes part.

    Attributes:
        folder: receives state, best weights and logs.
        console: where progress is shown.
        bound_to: what else decides the run, e.g. a digest of its data; a state saved with
            another value is refused.
        processes: those that share the work; only the main one writes.
        validate: returns a figure of the current weights, higher is better; the same in every
            process.
        identify: names a batch, for the report of a NaN loss.
        clock: times the steps of a run that is thrown away: while it is on, no state is saved.
        model: whose weights are looked at where the loss or gradient of the first step is not
            finite; None: those that are trained.
    """

    folder: Path
    console: Console
    bound_to: str = ""
    processes: Processes = ONE
    validate: Callable[[], float] | None = None
    identify: Identify | None = None
    clock: StepClock = OFF
    model: nn.Module | None = None


class LossNotFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite; the last saved state is kept."""


@dataclass(frozen=True, eq=False)
class _Trained:
    """What a step changes."""

    parameters: Mapping[str, nn.Parameter]
    optimizers: Optimizers
    scaling: LossScaling


def fit(
    step_loss: StepLoss,
    parameters: Mapping[str, nn.Parameter],
    plan: Plan,
    *,
    run: Run,
    scales_loss: bool = False,
) -> None:
    """Minimise `step_loss` over `parameters`, resuming from the state in the run's folder, if any.

    With validation, the best weights are loaded after the last step.

    Args:
        step_loss: draws its batch from (plan.seed, step, part) alone.
        parameters: what is trained, by a name that stays the same from run to run; float32.
        plan: steps, rates and seed.
        run: receives `<name>.state.safetensors`, `<name>.best.safetensors`, `<name>.log.jsonl`
            and TensorBoard events.
        scales_loss: what is computed in float16 needs it. A step that overflows is then left out
            in every process and logged as `skipped`, and the loss scale is halved.

    Raises:
        LossNotFinite: if a loss or its gradient is NaN or infinite, with loss scaling at a scale
            of 1; `<name>.bad_batch.json` names the batch where the run can identify it. Also, at
            any scale, if the run began with a weight that is not finite: the message names it.
        RunNotSaved: if the disk is full; the last state is kept.
        ValueError: if the saved state or best weights are damaged or belong to another plan
            or other parameters, or the parts do not divide among the processes.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    run.processes.share(plan.num_parts)
    trained = _Trained(parameters, Optimizers(parameters, plan), LossScaling(is_on=scales_loss))
    identity = plan_identity(plan, run.bound_to)
    state = StateFile(run.folder / state_name(plan), identity)
    best = BestFile(run.folder / f"{plan.name}.best.safetensors", identity)
    first = state.load(parameters, trained.optimizers, trained.scaling)
    best.figure()  # refuses another run's now rather than at the first validation
    saved_at = time.monotonic()
    with _log(plan, run, first) as log:
        for step in range(first, plan.num_steps):
            figures, unshown = _step(step_loss, trained, plan, step, run)
            is_last = step + 1 == plan.num_steps
            if run.validate and plan.is_validated(step):
                figures["validation"] = run.validate()
                if run.processes.is_main:
                    best.offer(parameters, figures["validation"], step + 1)
            rate = plan.learning_rate * schedule(plan, step)
            log.write(step, figures, unshown={"learning_rate": rate, **unshown})
            run.clock.end_step()
            is_due = is_last or time.monotonic() - saved_at > plan.save_every_s
            if is_due and run.processes.is_main and not run.clock.is_on:
                log.flush()
                state.save(parameters, trained.optimizers, step + 1, trained.scaling)
                saved_at = time.monotonic()
    run.processes.wait()
    if best.figure() is not None:
        best.restore(parameters)


def _step(
    step_loss: StepLoss, trained: _Trained, plan: Plan, step: int, run: Run
) -> tuple[dict[str, float], dict[str, float]]:
    """Do a step, or leave it out; return its figures, and those that are not for the eye."""
    scaling, optimizers = trained.scaling, trained.optimizers
    figures, bad_parts = _backward(step_loss, scaling, plan, step, run)
    # Every process learns of a bad loss in the same step, so that none waits for one that stopped.
    figures = run.processes.sum_figures(figures)
    norm = math.nan
    if math.isfinite(figures["loss"]):
        with run.clock.phase(OPTIMIZER):
            norm = _gradient_norm(trained, plan, run)
    if step == 0 and not math.isfinite(norm):
        _check_weights(trained, plan, run)
    unshown = {"gradient_norm": norm}
    if scaling.is_on:
        figures["skipped"] = float(not math.isfinite(norm))
        unshown["loss_scale"] = scaling.scale
    if math.isfinite(norm):
        with run.clock.phase(OPTIMIZER):
            optimizers.step(schedule(plan, step))
        scaling.keep()
    elif scaling.can_back_off:
        optimizers.drop_gradients()
        scaling.back_off()
    else:
        raise _not_finite(figures["loss"], norm, bad_parts, plan, step, run)
    return figures, unshown


def _backward(
    step_loss: StepLoss, scaling: LossScaling, plan: Plan, step: int, run: Run
) -> tuple[dict[str, float], list[int]]:
    """Gradients of this process's parts; their share of the figures, and parts without a loss."""
    totals: dict[str, float] = {}
    bad_parts = []
    for part in run.processes.share(plan.num_parts):
        torch.manual_seed((plan.seed * 1_000_003 + step) * 1_009 + part)
        loss, figures = step_loss(step, part)
        for name, value in {"loss": loss.item(), **figures}.items():
            totals[name] = totals.get(name, 0.0) + value / plan.num_parts
        if torch.isfinite(loss):
            with run.clock.phase(BACKWARD):
                scaling.scaled(loss / plan.num_parts).backward()
        else:
            bad_parts.append(part)
    return totals, bad_parts


def _gradient_norm(trained: _Trained, plan: Plan, run: Run) -> float:
    """Sum gradients over the processes, clip them, and return their norm before that.

    It is the same in every process, and so is what follows from it.
    """
    parameters = trained.parameters.values()
    run.processes.sum_gradients(parameters)
    trained.scaling.unscale(parameters)
    return nn.utils.clip_grad_norm_(parameters, plan.max_gradient_norm).item()


def _check_weights(trained: _Trained, plan: Plan, run: Run) -> None:
    """Name a weight that the run began with and that no batch would do for."""
    weights = run.model.named_parameters() if run.model else trained.parameters.items()
    bad = next((name for name, each in weights if not is_finite(each)), None)
    if bad is not None:
        raise LossNotFinite(
            f"{plan.name} begins with weights that are NaN or infinite, {bad} among them: look at"
            " the files of the base, or of the checkpoint that it begins with"
        )


def _not_finite(
    loss: float, norm: float, bad_parts: Sequence[int], plan: Plan, step: int, run: Run
) -> LossNotFinite:
    """Name the batch in a file, and say what happened."""
    if math.isfinite(loss):
        what, parts = f"gradient norm of {plan.name} is {norm}", list(range(plan.num_parts))
    else:
        what, parts = f"loss of {plan.name} is {loss}", list(bad_parts)
    if bad_parts or (math.isfinite(loss) and run.processes.is_main):
        _name_bad_batch(run, plan, step, parts, what)
    named = f"{plan.name}.bad_batch.json names the batch, " if run.identify else ""
    return LossNotFinite(
        f"{what} at step {step}: the last saved state is kept; {named}look at the batch or "
        "lower the learning rate"
    )


def _name_bad_batch(run: Run, plan: Plan, step: int, parts: Sequence[int], cause: str) -> None:
    if run.identify is None:
        return
    batches = [{"part": part, "batch": run.identify(step, part)} for part in parts]
    values = {"step": step, "cause": cause, "parts": batches}
    text = json.dumps(values, indent=2, default=str) + "\n"
    (run.folder / f"{plan.name}.bad_batch.json").write_text(text)


def _log(plan: Plan, run: Run, first: int) -> RunLog:
    return RunLog(
        run.folder,
        plan.name,
        num_steps=plan.num_steps,
        first=first,
        console=run.console,
        is_silent=not run.processes.is_main,
    )


def state_name(plan: Plan) -> str:
    """Name of the file in a run's folder that has the state of a plan."""
    return f"{plan.name}.state.safetensors"


def plan_identity(plan: Plan, bound_to: str) -> str:
    """What states and best weights of a run have written in them: all that decides its weights.

    Args:
        plan: how often it is saved decides nothing.
        bound_to: as of `Run`.
    """
    deciding = {key: value for key, value in asdict(plan).items() if key != "save_every_s"}
    return identity_of({**deciding, "bound_to": bound_to})
