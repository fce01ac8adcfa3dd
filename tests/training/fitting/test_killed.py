"""A run killed at any instant, again and again, ends like one that was left alone."""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from training.fitting.plan import Plan
from training.fitting.run_state import read_tensors
from training.fitting.trainer import Run, fit

PLAN = Plan(
    "part",
    num_steps=60,
    learning_rate=0.1,
    num_warmup_steps=2,
    seed=4,
    muon=True,
    validate_every=7,
    save_every_s=0.0,
)

KILLED_AGAIN_AND_AGAIN = """
import importlib.util, os, random, signal, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("t", sys.argv[2])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
folder, rng, reached = Path(sys.argv[1]), random.Random(), [0]
state = folder / "part.state.safetensors"
t.long_run(folder.with_name("warm"))  # imports what a first step does, once for all forks


def saved():
    return int(t.read_tensors(state)[0]["step"]) if state.exists() else 0


while True:
    child = os.fork()
    if child == 0:
        t.long_run(folder, pause_s=0.01)
        os._exit(0)
    if len(reached) <= 4:
        until = reached[-1] + rng.randint(1, 8)
        while saved() < until:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0
        break
    reached.append(saved())
print(*reached[1:])
"""


def long_run(folder: Path, pause_s: float = 0.0) -> None:
    """Sixty steps, saved after each, with validation and both optimizers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))

    def step_loss(step: int, part: int):
        time.sleep(pause_s)
        return model(torch.randn(8, 3)).square().mean(), {"part": float(part)}

    def figure() -> float:
        return -model[0].weight.square().sum().item()

    run = Run(folder, Console(quiet=True), validate=figure)
    fit(step_loss, dict(model.named_parameters()), PLAN, run=run)


def test_kill_9_at_any_instant_changes_nothing(tmp_path) -> None:
    """Real processes, killed wherever they are: computing, validating, saving."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, str(tmp_path / "killed"), __file__],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    killed_at = [int(word) for word in done.stdout.split()]
    assert len(killed_at) == 4
    assert all(0 < step < 60 for step in killed_at)
    long_run(tmp_path / "whole")
    for name in ("part.state.safetensors", "part.best.safetensors"):
        (whole, told), (killed, retold) = (
            read_tensors(tmp_path / folder / name) for folder in ("whole", "killed")
        )
        assert whole.keys() == killed.keys()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)
        assert told == retold
    lines = (tmp_path / "killed/part.log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(60))
