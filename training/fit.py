"""Optimiser steps that can be killed at any instant and go on where they were saved.

Everything random in step k is drawn from (seed, k), so a resumed run takes the same steps as one
that was never stopped, and no generator's state need be saved.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

StepLoss = Callable[[int], tuple[Tensor, dict[str, float]]]
"""Given the step's number, counted from 0: the loss to descend, and figures for the log."""


LINE_EVERY_S = 20.0
"""How often a run without a terminal prints a line."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to descend.

    Attributes:
        name: of this part of a run; names its state file.
        num_steps: optimiser steps in all.
        learning_rate: peak of the schedule.
        num_warmup_steps: linear rise from 0.
        final_fraction: of the peak that a cosine falls to; 1 keeps it constant.
        weight_decay: decoupled (AdamW); on matrices only.
        max_gradient_norm: gradients are scaled down to this norm.
        seed: decides every random draw.
        save_every_s: seconds between saves; a killed run loses at most this much work.
    """

    name: str
    num_steps: int
    learning_rate: float
    num_warmup_steps: int = 100
    final_fraction: float = 0.05
    weight_decay: float = 1e-2
    max_gradient_norm: float = 1.0
    seed: int = 0
    save_every_s: float = 60.0


class LossNotFinite(ArithmeticError):
    """The loss became NaN or infinite; the last saved state stands."""


def learning_rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_fraction` of the peak."""
    if step < plan.num_warmup_steps:
        return plan.learning_rate * (step + 1) / plan.num_warmup_steps
    span = max(plan.num_steps - plan.num_warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * (step - plan.num_warmup_steps) / span)) / 2
    return plan.learning_rate * (plan.final_fraction + (1 - plan.final_fraction) * cosine)


def fit(
    step_loss: StepLoss,
    parameters: Mapping[str, nn.Parameter],
    plan: Plan,
    *,
    folder: Path,
    console: Console,
    bound_to: str = "",
) -> None:
    """Descend `step_loss` over `parameters`, resuming from `folder` where a state is found.

    Args:
        step_loss: draws its batch from (plan.seed, step) alone.
        parameters: what is trained, by a name that stays the same from run to run.
        plan: schedule.
        folder: receives `<name>.state.safetensors` and `<name>.log.jsonl`.
        console: where progress is shown.
        bound_to: what else decides the run, e.g. a digest of its data; a state saved under
            another is refused.

    Raises:
        LossNotFinite: if a loss is NaN or infinite.
        ValueError: if the state found belongs to another plan or other parameters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = _optimiser(parameters, plan)
    state = _StateFile(folder / f"{plan.name}.state.safetensors", plan, bound_to)
    first = state.load(parameters, optimiser)
    log_path = folder / f"{plan.name}.log.jsonl"
    _cut_log(log_path, first)
    saved_at = told_at = time.monotonic()
    with _progress(console) as progress, log_path.open("a") as log_file:
        bar = progress.add_task(plan.name, total=plan.num_steps, completed=first, figures="")
        for step in range(first, plan.num_steps):
            figures = _step(step_loss, parameters, optimiser, plan, step)
            log_file.write(json.dumps({"step": step, **figures}) + "\n")
            shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
            progress.update(bar, completed=step + 1, figures=shown)
            if not console.is_terminal and time.monotonic() - told_at > LINE_EVERY_S:
                console.print(f"{plan.name} {step + 1}/{plan.num_steps} {shown}")
                log_file.flush()
                told_at = time.monotonic()
            if time.monotonic() - saved_at > plan.save_every_s or step + 1 == plan.num_steps:
                log_file.flush()
                state.save(parameters, optimiser, step + 1)
                saved_at = time.monotonic()


def _step(
    step_loss: StepLoss,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.AdamW,
    plan: Plan,
    step: int,
) -> dict[str, float]:
    torch.manual_seed(plan.seed * 1_000_003 + step)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(plan, step)
    loss, figures = step_loss(step)
    if not torch.isfinite(loss):
        raise LossNotFinite(f"loss of {plan.name} is {loss.item()} at step {step}")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters.values(), plan.max_gradient_norm)
    optimiser.step()
    return {"loss": loss.item(), **figures}


def _optimiser(parameters: Mapping[str, nn.Parameter], plan: Plan) -> torch.optim.AdamW:
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    others = [p for p in parameters.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=plan.learning_rate)


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    return Progress(*columns, console=console, speed_estimate_period=60)


def _cut_log(path: Path, first: int) -> None:
    """Drop lines of steps that will be taken again."""
    if path.exists():
        kept = []
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line of a killed run may be cut
                if json.loads(line)["step"] < first:
                    kept.append(line + "\n")
        path.write_text("".join(kept))


class _StateFile:
    """Weights and optimiser moments of a run in one safetensors file, replaced atomically."""

    def __init__(self, path: Path, plan: Plan, bound_to: str) -> None:
        self.path = path
        deciding = {k: v for k, v in asdict(plan).items() if k != "save_every_s"}
        self.plan = json.dumps({**deciding, "bound_to": bound_to}, sort_keys=True)

    def save(
        self, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.AdamW, step: int
    ) -> None:
        tensors = {"step": torch.tensor(step)}
        for name, parameter in parameters.items():
            tensors[f"weight.{name}"] = parameter.detach().contiguous()
            for moment, value in optimiser.state.get(parameter, {}).items():
                tensors[f"{moment}.{name}"] = torch.as_tensor(value).contiguous()
        temporary = self.path.with_suffix(".tmp")
        save_file(tensors, temporary, metadata={"plan": self.plan})
        os.replace(temporary, self.path)

    def load(self, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.AdamW) -> int:
        if not self.path.exists():
            return 0
        tensors = self._read(parameters)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
                moments = {
                    moment: tensors[f"{moment}.{name}"]
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                    if f"{moment}.{name}" in tensors
                }
                if moments:
                    optimiser.state[parameter] = moments
        return int(tensors["step"])

    def _read(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        try:
            tensors = load_file(self.path)
            from safetensors import safe_open

            with safe_open(self.path, framework="pt") as file:
                plan = (file.metadata() or {}).get("plan")
        except SafetensorError as error:
            raise ValueError(f"{self.path} is damaged: remove it to start again") from error
        weights = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
        if plan != self.plan or weights != set(parameters):
            raise ValueError(
                f"{self.path} belongs to another run: choose another folder or remove it"
            )
        return tensors
