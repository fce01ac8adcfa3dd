"""Several processes take the same steps as one that does the work of all, also when their number
changes on the way.
"""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from training.fitting.parallel import Processes, launched
from training.fitting.plan import Plan
from training.fitting.run_state import read_tensors
from training.fitting.trainer import Run, fit

OVERFLOWS = {(1, 1), (4, 2)}
"""Steps and parts: of two processes each has one."""


def train(folder: str, stop_at: str) -> None:
    """Six steps of a layer in float16 with dropout, or as many as come before `stop_at`."""
    processes = launched()
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    data = torch.randn(4, 8, 3)

    def step_loss(step: int, part: int):
        if step == int(stop_at):
            raise InterruptedError
        half = nn.functional.dropout(layer(data[part])).half()
        loss = half.float().square().mean() * (1e4 if (step, part) in OVERFLOWS else 1)
        return loss, {"part": float(part)}

    plan = Plan(
        "part", num_steps=6, learning_rate=0.1, num_warmup_steps=2, num_parts=4, save_every_s=0.0
    )
    run = Run(Path(folder), Console(quiet=True), processes=processes)
    try:
        fit(step_loss, dict(layer.named_parameters()), plan, run=run, scales_loss=True)
    except InterruptedError:
        return
    torch.save(layer.state_dict(), f"{folder}/weights{processes.rank}.pt")


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "part.log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process from beginning to end."""
    folder = tmp_path_factory.mktemp("parallel") / "alone"
    launch(__file__, 1, str(folder), "-1")
    return folder


def assert_equal(folder: Path, alone: Path) -> None:
    """The same curve and the same end, but for the order in which gradients are summed."""
    lines, expected = log(folder), log(alone)
    for name in ("step", "skipped", "loss_scale"):
        assert [line[name] for line in lines] == [line[name] for line in expected]
    for name in ("loss", "part"):
        values = [line[name] for line in lines]
        assert values == pytest.approx([line[name] for line in expected], rel=1e-5)
    weights = torch.load(alone / "weights0.pt", weights_only=True)
    for path in folder.glob("weights*.pt"):
        torch.testing.assert_close(
            torch.load(path, weights_only=True), weights, rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_parts(launch, tmp_path, alone) -> None:
    launch(__file__, 2, str(tmp_path / "two"), "-1")
    assert len(list((tmp_path / "two").glob("weights*.pt"))) == 2
    assert_equal(tmp_path / "two", alone)
    assert [line["skipped"] for line in log(alone)] == [0, 1, 0, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("begun", "resumed"), [(2, 1), (1, 2)])
def test_a_run_resumed_on_another_number_of_processes_gives_the_same_curve(
    launch, tmp_path, alone, begun, resumed
) -> None:
    folder = tmp_path / "run"
    launch(__file__, begun, str(folder), "3")
    saved, _ = read_tensors(folder / "part.state.safetensors")
    assert saved["step"] == len(log(folder)) == 3
    launch(__file__, resumed, str(folder), "-1")
    assert_equal(folder, alone)


class Three:
    """As much of an accelerator as says who this is among three."""

    num_processes = 3
    process_index = 1


def test_a_process_takes_its_share_of_the_parts() -> None:
    assert list(Processes(Three()).share(6)) == [1, 4]
    assert list(Processes().share(4)) == [0, 1, 2, 3]


class OnGpus:
    """Accelerate's on a machine with GPUs: it takes the first, whichever was asked for."""

    num_processes = 1
    device = torch.device("cuda:0")

    def __init__(self, cpu: bool) -> None:
        assert not cpu


def test_without_a_launcher_a_run_stays_on_the_gpu_it_was_given(monkeypatch) -> None:
    monkeypatch.setattr("accelerate.Accelerator", OnGpus)
    assert launched("cuda:1").device == "cuda:1"
    assert launched("cuda").device == "cuda"


def test_of_several_processes_each_has_its_own_gpu(monkeypatch) -> None:
    monkeypatch.setattr("accelerate.Accelerator", OnGpus)
    monkeypatch.setattr(OnGpus, "num_processes", 2)
    assert launched("cuda").device == "cuda:0"
    with pytest.raises(ValueError, match="device must be cuda where 2 processes"):
        launched("cuda:1")


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must divide among the processes, got 4 for 3"):
        Processes(Three()).share(4)


def test_one_process_has_nothing_to_share() -> None:
    layer = nn.Linear(1, 1)
    Processes().sum_gradients(layer.parameters())
    assert layer.weight.grad is None
    assert Processes().sum_figures({"a": 1.0}) == {"a": 1.0}
