"""Steps that can be killed and go on, with the same result as if they had never been."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from training.fitting.plan import Plan, schedule
from training.fitting.run_state import RunNotSaved, read_tensors
from training.fitting.trainer import LossNotFinite, Run, fit

PLAN = Plan("part", num_steps=12, learning_rate=0.1, num_warmup_steps=2, seed=4, save_every_s=0.0)
QUIET = Console(quiet=True)


class Stopped(Exception):
    """A run was cut off in the middle of a step."""


def problem() -> tuple[nn.Linear, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    return layer, dict(layer.named_parameters())


def noisy_loss(layer: nn.Linear, stop_at: int | None = None):
    """A loss whose batch is drawn anew in each step; raises Stopped at one of them."""

    def step_loss(step: int, part: int):
        if step == stop_at:
            raise Stopped
        batch = torch.randn(8, 3)  # from the generator that fit seeds for each step
        return layer(batch).square().mean(), {"step_again": float(step)}

    return step_loss


def run(folder: Path, stop_at: int | None = None, plan: Plan = PLAN) -> dict[str, torch.Tensor]:
    layer, parameters = problem()
    fit(noisy_loss(layer, stop_at), parameters, plan, run=Run(folder, QUIET))
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, stop_at) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", stop_at)
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "cut/part.log.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(12))


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


def test_a_nan_loss_stops_the_run_and_the_last_state_stands(tmp_path) -> None:
    layer, parameters = problem()

    def step_loss(step: int, part: int):
        loss = layer(torch.ones(1, 3)).sum()
        return (loss * float("nan") if (step, part) == (3, 1) else loss), {}

    plan = replace(PLAN, num_parts=2)
    with pytest.raises(LossNotFinite, match=r"loss of part is nan at step 3.*bad_batch"):
        fit(step_loss, parameters, plan, run=Run(tmp_path, QUIET, identify=lambda *at: [*at]))
    assert all(torch.isfinite(parameter).all() for parameter in parameters.values())
    assert (tmp_path / "part.state.safetensors").exists()
    record = json.loads((tmp_path / "part.bad_batch.json").read_text())
    assert record["parts"] == [{"part": 1, "batch": [3, 1]}]


@pytest.mark.parametrize(("frozen", "named"), [(True, "0.weight"), (False, "1.bias")])
def test_weights_that_hold_nan_are_named_and_no_batch_is(tmp_path, frozen, named) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    with torch.no_grad():
        (model[0].weight if frozen else model[1].bias).view(-1)[0] = float("nan")
    trained = dict(model[1].named_parameters(prefix="1"))

    def step_loss(step: int, part: int):
        return model(torch.ones(1, 3)).sum(), {}

    run = Run(tmp_path, QUIET, identify=lambda *at: [*at], model=model if frozen else None)
    with pytest.raises(LossNotFinite, match=f"part begins with weights that .* {named} among them"):
        fit(step_loss, trained, PLAN, run=run)
    assert not (tmp_path / "part.bad_batch.json").exists()


def test_a_nan_gradient_stops_the_run_before_the_weights_are_spoilt(tmp_path) -> None:
    layer, parameters = problem()

    def step_loss(step: int, part: int):
        loss = layer(torch.ones(1, 3)).sum()
        # The root's slope at 0 is infinite, the root itself is 0.
        return (loss * 0).sqrt() if step == 3 else loss, {}

    with pytest.raises(LossNotFinite, match="gradient norm of part is nan at step 3"):
        fit(step_loss, parameters, PLAN, run=Run(tmp_path, QUIET))
    assert all(torch.isfinite(parameter).all() for parameter in parameters.values())
    saved, _ = read_tensors(tmp_path / "part.state.safetensors")
    assert int(saved["step"]) == 3
    assert not (tmp_path / "part.bad_batch.json").exists()


def test_a_full_disk_while_saving_leaves_the_last_state(tmp_path, monkeypatch) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop_at=5)
    before = (tmp_path / "part.state.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("training.fitting.run_state.save_file", full)
        with pytest.raises(RunNotSaved, match=r"could not be saved .*No space.*free some disk"):
            run(tmp_path)
    assert (tmp_path / "part.state.safetensors").read_bytes() == before
    whole = run(tmp_path / "whole")
    assert torch.equal(run(tmp_path)["weight"], whole["weight"])


def test_parts_of_a_step_make_the_step_of_their_mean(tmp_path) -> None:
    data = torch.randn(6, 8, 3)

    def whole(step: int, part: int):
        return layer(data.flatten(0, 1)).square().mean(), {}

    def in_parts(step: int, part: int):
        return layer(data[part]).square().mean(), {"seen": float(part)}

    weights = []
    for name, loss, parts in (("whole", whole, 1), ("parts", in_parts, 6)):
        layer, parameters = problem()
        plan = replace(PLAN, num_parts=parts)
        fit(loss, parameters, plan, run=Run(tmp_path / name, QUIET))
        weights.append(layer.weight.detach().clone())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    line = json.loads((tmp_path / "parts/part.log.jsonl").read_text().splitlines()[0])
    assert line["seen"] == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 6)


def validated(folder: Path, figures: dict[int, float], stop_at: int | None = None) -> nn.Linear:
    """A run that is validated every 3 steps, with figures told in advance, by number of steps."""
    layer, parameters = problem()
    taken = []

    def step_loss(step: int, part: int):
        taken.append(step)
        return noisy_loss(layer, stop_at)(step, part)

    plan = replace(PLAN, validate_every=3)
    run = Run(folder, QUIET, validate=lambda: figures[taken[-1] + 1])
    fit(step_loss, parameters, plan, run=run)
    return layer


def test_the_best_weights_are_kept(tmp_path) -> None:
    figures = {3: 0.1, 6: 0.9, 9: 0.5, 12: 0.4}
    kept = validated(tmp_path / "best", figures)
    layer, parameters = problem()
    with pytest.raises(Stopped):
        fit(noisy_loss(layer, stop_at=6), parameters, PLAN, run=Run(tmp_path / "six", QUIET))
    assert torch.equal(kept.weight, layer.weight)


def test_best_weights_of_another_run_are_refused_before_any_step(tmp_path) -> None:
    validated(tmp_path, dict.fromkeys((3, 6, 9, 12), 0.5))
    (tmp_path / "part.state.safetensors").unlink()
    layer, parameters = problem()
    plan = replace(PLAN, validate_every=4)
    with pytest.raises(ValueError, match=r"part\.best\.safetensors belongs to another run"):
        fit(noisy_loss(layer, stop_at=0), parameters, plan, run=Run(tmp_path, QUIET))


def test_the_best_weights_survive_an_interruption(tmp_path) -> None:
    figures = {3: 0.1, 6: 0.9, 9: 0.5, 12: 0.4}
    whole = validated(tmp_path / "whole", figures)
    with pytest.raises(Stopped):
        validated(tmp_path / "cut", figures, stop_at=10)
    assert torch.equal(validated(tmp_path / "cut", figures).weight, whole.weight)


@pytest.mark.parametrize("muon", [False, True])
def test_both_optimizers_resume_to_the_same_weights(tmp_path, muon) -> None:
    plan = replace(PLAN, muon=muon)

    def through(folder: Path, stop_at: int | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        parameters = dict(model.named_parameters())
        fit(noisy_loss(model, stop_at), parameters, plan, run=Run(folder, QUIET))
        return model[0].weight.detach().clone()

    whole = through(tmp_path / "whole")
    with pytest.raises(Stopped):
        through(tmp_path / "cut", stop_at=6)
    assert torch.equal(through(tmp_path / "cut"), whole)


def test_the_schedule_warms_up_and_falls_to_its_end() -> None:
    plan = replace(PLAN, num_steps=102, num_warmup_steps=2, final_fraction=0.1)
    assert schedule(plan, 0) == pytest.approx(0.5)
    assert schedule(plan, 2) == pytest.approx(1.0)
    assert schedule(plan, 52) == pytest.approx(0.1 + 0.9 / 2)
    assert schedule(plan, 102) == pytest.approx(0.1)
