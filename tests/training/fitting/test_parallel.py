"""Two processes take the same steps as one that does the work of both."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from training.fitting.parallel import Processes

RUN = """
import sys
from pathlib import Path
import torch
from rich.console import Console
from torch import nn
from training.fitting.plan import Plan
from training.fitting.trainer import Run, fit
from training.fitting.parallel import launched

processes = launched(cpu=True)
torch.manual_seed(0)
layer = nn.Linear(3, 1)
data = torch.randn(4, 8, 3)

def step_loss(step, part):
    loss = layer(data[part]).square().mean()
    return loss, {"part": float(part)}

plan = Plan("part", num_steps=6, learning_rate=0.1, num_warmup_steps=2, num_parts=4)
run = Run(Path(sys.argv[1]), Console(quiet=True), processes=processes)
fit(step_loss, dict(layer.named_parameters()), plan, run=run)
torch.save(layer.state_dict(), f"{sys.argv[1]}/weights{processes.rank}.pt")
"""


def launch(folder: Path, num_processes: int) -> None:
    script = folder.parent / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(folder)]
    if num_processes > 1:
        # What `accelerate launch` runs on one machine with GPUs; on CPUs it would ask for mpirun.
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(num_processes)]
        command = [sys.executable, *launcher, str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "part.log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_parts(tmp_path) -> None:
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        launch(tmp_path / str(count), count)
    one, two = log(tmp_path / "1"), log(tmp_path / "2")
    assert [line["step"] for line in two] == list(range(6))
    for name in ("loss", "part"):
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], rel=1e-5)
    alone = torch.load(tmp_path / "1/weights0.pt", weights_only=True)
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"2/weights{rank}.pt", weights_only=True)
        torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-6)


class Three:
    """As much of an accelerator as says who this is among three."""

    num_processes = 3
    process_index = 1


def test_a_process_takes_its_share_of_the_parts() -> None:
    assert list(Processes(Three()).share(6)) == [1, 4]
    assert list(Processes().share(4)) == [0, 1, 2, 3]


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must divide among the processes, got 4 for 3"):
        Processes(Three()).share(4)


def test_one_process_has_nothing_to_share() -> None:
    layer = nn.Linear(1, 1)
    Processes().sum_gradients(layer.parameters())
    assert layer.weight.grad is None
    assert Processes().sum_figures({"a": 1.0}) == {"a": 1.0}
