"""Where the time of training steps goes, by phase; off unless a run is profiled."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

READING = "waiting for images"
MOVING = "copying to the device, resizing"
ENCODING = "vision tower and projection, forward"
FORWARD = "language model, forward"
BACKWARD = "language model, backward"
ENCODING_BACKWARD = "vision tower and projection, backward"
OPTIMIZER = "optimizer"
REST = "the rest"
PHASES = (
    READING,
    MOVING,
    ENCODING,
    FORWARD,
    BACKWARD,
    ENCODING_BACKWARD,
    OPTIMIZER,
    REST,
)
"""In the order in which a step comes to them."""


class StepClock:
    """Seconds of each step by phase; every instant counts once, for the innermost open phase.

    The device is waited for where a phase begins and ends, so that its work counts where it was
    asked for. What overlaps in a run without a clock does not here: a step takes a little longer.

    Args:
        device: of the model.
        is_on: False measures nothing and waits for nothing.
    """

    def __init__(self, device: str = "cpu", *, is_on: bool = True) -> None:
        self.is_on = is_on
        self._device = torch.device(device)
        self._steps: list[dict[str, float]] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._open = [REST]
        self._since = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context whose time counts for a phase."""
        if not self.is_on:
            yield
            return
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def watching(self, modules: Iterable[nn.Module], name: str) -> Iterator[None]:
        """A context in which forward passes of some modules count for a phase."""
        with ExitStack() as hooks:
            for module in modules if self.is_on else ():
                entering = module.register_forward_pre_hook(lambda *_: self._enter(name))
                leaving = module.register_forward_hook(lambda *_: self._leave())
                hooks.callback(entering.remove)
                hooks.callback(leaving.remove)
            yield

    def split_backward(self, features: Tensor) -> None:
        """Count what is left of a backward pass for what made image tokens, once it reaches them.

        Args:
            features: image tokens, with gradients or without.
        """
        if self.is_on and features.requires_grad:
            features.register_hook(lambda _: self._become(ENCODING_BACKWARD))

    def end_step(self) -> None:
        """Note what a step took."""
        if self.is_on:
            self._book()
            self._steps.append(dict(self._seconds))
            self._seconds.clear()

    def take_steps(self) -> list[dict[str, float]]:
        """Seconds by phase of each step that ended since the last call."""
        steps, self._steps = self._steps, []
        return steps

    def _enter(self, name: str) -> None:
        self._book()
        self._open.append(name)

    def _leave(self) -> None:
        self._book()
        self._open.pop()

    def _become(self, name: str) -> None:
        self._book()
        self._open[-1] = name

    def _book(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now


OFF = StepClock(is_on=False)
