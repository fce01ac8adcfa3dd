"""Steps that can be killed and go on, with the same result as if they had never been."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from training.fit import LossNotFinite, Plan, fit, learning_rate

PLAN = Plan("part", num_steps=12, learning_rate=0.1, num_warmup_steps=2, seed=4, save_every_s=0.0)
QUIET = Console(quiet=True)


def problem() -> tuple[nn.Linear, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    return layer, dict(layer.named_parameters())


def noisy_loss(layer: nn.Linear, stop_at: int | None = None):
    """A loss whose batch is drawn anew in each step; raises KeyboardInterrupt at one of them."""

    def step_loss(step: int):
        if step == stop_at:
            raise KeyboardInterrupt
        batch = torch.randn(8, 3)  # from the generator that fit seeds for each step
        return layer(batch).square().mean(), {"step_again": float(step)}

    return step_loss


def run(folder: Path, stop_at: int | None = None, plan: Plan = PLAN) -> dict[str, torch.Tensor]:
    layer, parameters = problem()
    fit(noisy_loss(layer, stop_at), parameters, plan, folder=folder, console=QUIET)
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, stop_at) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop_at)
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "cut/part.log.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(12))


def test_kill_9_loses_at_most_what_was_not_saved(tmp_path) -> None:
    """A real process, killed in the middle of a step after some were saved."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "import importlib.util as u\n"
        "spec = u.spec_from_file_location('t', sys.argv[3]); t = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(t)\n"
        "layer, parameters = t.problem()\n"
        "inner = t.noisy_loss(layer)\n"
        "def step_loss(step):\n"
        "    if step == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return inner(step)\n"
        "from pathlib import Path\n"
        "t.fit(step_loss, parameters, t.PLAN, folder=Path(sys.argv[1]), console=t.QUIET)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "killed"), str(root), __file__], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_run_is_not_run_again(tmp_path) -> None:
    first = run(tmp_path)
    assert all(torch.equal(first[n], p) for n, p in run(tmp_path, stop_at=0).items())


def test_the_seed_decides(tmp_path) -> None:
    first = run(tmp_path / "a")
    again = run(tmp_path / "b")
    other = run(tmp_path / "c", plan=replace(PLAN, seed=5))
    assert torch.equal(first["weight"], again["weight"])
    assert not torch.equal(first["weight"], other["weight"])


def test_a_state_of_another_plan_is_refused(tmp_path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        run(tmp_path, plan=replace(PLAN, learning_rate=0.2))


def test_a_damaged_state_is_refused_by_name(tmp_path) -> None:
    run(tmp_path)
    path = tmp_path / "part.state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"part\.state\.safetensors is damaged"):
        run(tmp_path)


def test_a_loss_that_is_no_number_stops_and_the_last_state_stands(tmp_path) -> None:
    layer, parameters = problem()

    def step_loss(step: int):
        loss = layer(torch.ones(1, 3)).sum()
        return (loss * float("nan") if step == 3 else loss), {}

    with pytest.raises(LossNotFinite, match="step 3"):
        fit(step_loss, parameters, PLAN, folder=tmp_path, console=QUIET)
    assert all(torch.isfinite(parameter).all() for parameter in parameters.values())
    assert (tmp_path / "part.state.safetensors").exists()


def test_a_full_disk_while_saving_leaves_the_last_state(tmp_path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=5)
    before = (tmp_path / "part.state.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("training.fit.save_file", full)
        with pytest.raises(OSError, match="No space"):
            run(tmp_path)
    assert (tmp_path / "part.state.safetensors").read_bytes() == before
    whole = run(tmp_path / "whole")
    assert torch.equal(run(tmp_path)["weight"], whole["weight"])


def test_the_schedule_warms_up_and_falls_to_its_end() -> None:
    plan = replace(PLAN, num_steps=102, num_warmup_steps=2, final_fraction=0.1)
    assert learning_rate(plan, 0) == pytest.approx(0.05)
    assert learning_rate(plan, 2) == pytest.approx(0.1)
    assert learning_rate(plan, 52) == pytest.approx(0.1 * (0.1 + 0.9 / 2))
    assert learning_rate(plan, 102) == pytest.approx(0.01)
