"""A run on one or more processes; accelerate is imported here alone.

Each process computes its share of a step's parts, and gradients are summed over all; so N
processes do the same steps as one that computes all parts in turn.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        accelerator: Hugging Face's; None for a run of one process without a launcher.
        device: where this process computes.
    """

    accelerator: Any = None
    device: str = "cpu"

    @property
    def count(self) -> int:
        """Number of processes, at least 1."""
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        """Rank of this one, 0 to count - 1."""
        return 0 if self.accelerator is None else int(self.accelerator.process_index)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, parts: int) -> range:
        """The parts of a step that are this process's.

        Args:
            parts: of a step, in all.

        Raises:
            ValueError: if they do not divide among the processes.
        """
        if parts % self.count:
            raise ValueError(
                f"a step's parts must divide among the processes, got {parts} for {self.count}: "
                "change the accumulation"
            )
        return range(self.rank, parts, self.count)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum each parameter's gradient over the processes, in place."""
        if self.accelerator is None or self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.accelerator.reduce(parameter.grad, reduction="sum")

    def sum_figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Sum figures of the same names over the processes."""
        if self.accelerator is None or self.count == 1:
            return dict(figures)
        values = torch.tensor(
            list(figures.values()), dtype=torch.float32, device=self.accelerator.device
        )
        summed = self.accelerator.reduce(values, reduction="sum")
        return dict(zip(figures, summed.tolist(), strict=True))

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def launched(device: str = "cpu") -> Processes:
    """The processes that `accelerate launch` or torchrun started; one without either.

    Args:
        device: "cpu", "cuda" or, for one process, "cuda:N"; each of several has a GPU of its own.

    Raises:
        ValueError: if several processes are to share one GPU.
    """
    from accelerate import Accelerator

    asked = torch.device(device)
    accelerator = Accelerator(cpu=asked.type == "cpu")
    if accelerator.num_processes == 1:
        return Processes(accelerator, device)
    if asked.type == "cuda" and asked.index is not None:
        raise ValueError(
            f"device must be cuda where {accelerator.num_processes} processes have a GPU each,"
            f" got {device}: choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    return Processes(accelerator, str(accelerator.device))
