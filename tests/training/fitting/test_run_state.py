"""A state on disk is whole, its own run's, or refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from training.fitting.optimizer import Optimizers
from training.fitting.plan import Plan
from training.fitting.run_state import (
    BestFile,
    StateFile,
    read_metadata,
    read_tensors,
    write_tensors,
)

PLAN = Plan("part", num_steps=1, learning_rate=0.1, weight_decay=0.0)


def layer() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return dict(nn.Linear(3, 2).named_parameters())


def test_best_weights_are_replaced_by_better_ones_alone(tmp_path) -> None:
    best = BestFile(tmp_path / "best.safetensors", "a")
    parameters = layer()
    assert best.figure() is None
    assert best.offer(parameters, 0.5, step=3)
    assert not best.offer(parameters, 0.5, step=6)
    assert not best.offer(parameters, 0.4, step=9)
    assert best.offer(parameters, 0.6, step=12)
    assert best.figure() == 0.6
    assert read_metadata(best.path)["step"] == "12"


def test_nan_is_never_the_best_figure(tmp_path) -> None:
    best = BestFile(tmp_path / "best.safetensors", "a")
    assert not best.offer(layer(), float("nan"), step=1)
    assert best.figure() is None
    best.offer(layer(), 0.5, step=2)
    assert not best.offer(layer(), float("nan"), step=3)
    assert best.figure() == 0.5


def test_files_of_another_run_are_refused(tmp_path) -> None:
    parameters = layer()
    optimizers = Optimizers(parameters, PLAN)
    state, best = tmp_path / "state.safetensors", tmp_path / "best.safetensors"
    StateFile(state, "a").save(parameters, optimizers, 1)
    BestFile(best, "a").offer(parameters, 0.5, 1)
    with pytest.raises(ValueError, match=r"state\.safetensors belongs to another run"):
        StateFile(state, "b").load(parameters, optimizers)
    for refused in (BestFile(best, "b").figure, lambda: BestFile(best, "b").restore(parameters)):
        with pytest.raises(ValueError, match=r"best\.safetensors belongs to another run"):
            refused()


@pytest.mark.parametrize("other", [nn.Linear(1, 2), nn.Linear(3, 2, bias=False)])
def test_parameters_of_another_shape_or_name_are_refused(tmp_path, other) -> None:
    """A file with a (2, 1) matrix would otherwise be broadcast over a (2, 3) one."""
    path = tmp_path / "state.safetensors"
    kept = dict(other.named_parameters())
    StateFile(path, "a").save(kept, Optimizers(kept, PLAN), 1)
    parameters = layer()
    before = parameters["weight"].detach().clone()
    with pytest.raises(ValueError, match="holds other parameters than the model"):
        StateFile(path, "a").load(parameters, Optimizers(parameters, PLAN))
    assert torch.equal(parameters["weight"], before)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_was_cut_is_refused_by_name(tmp_path, length) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors({"a": torch.ones(100)}, path, {"figure": "0.5"})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged: remove it"):
        read_tensors(path)


def test_what_a_killed_save_left_is_written_over(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    (tmp_path / ".a.safetensors.part").write_bytes(b"half")
    write_tensors({"a": torch.ones(4)}, path, {})
    assert torch.equal(read_tensors(path)[0]["a"], torch.ones(4))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_that_may_not_grow_leaves_the_last_state(tmp_path) -> None:
    """The kernel's own refusal, in a process whose files may have so many bytes and no more."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from training.fitting.run_state import RunNotSaved, read_tensors, write_tensors\n"
        "path = Path(sys.argv[1])\n"
        "write_tensors({'a': torch.ones(4)}, path, {})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    write_tensors({'a': torch.ones(1_000_000)}, path, {})\n"
        "except RunNotSaved as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "a.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "could not be saved" in done.stdout
    tensors, _ = read_tensors(path)
    assert torch.equal(tensors["a"], torch.ones(4))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
