"""Dynamic loss scaling: float16 keeps gradients that would be rounded to zero."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

FIRST = 2.0**16
GROWS_AFTER = 2_000
"""Both as in PyTorch's GradScaler."""

LEAST = 1.0
"""Overflow at this scale is no matter of scaling any more."""


class LossScaling:
    """The factor of a loss, halved at each overflow and doubled after many steps without one.

    Micikevicius et al. (2018), section 3.2, with the numbers of PyTorch's GradScaler.  That takes
    its decision optimizer by optimizer and process by process; here a step is taken by all or none.

    Args:
        is_on: False leaves losses and gradients as they are.
    """

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self.scale = FIRST if is_on else 1.0
        self._num_kept = 0

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        return loss * self.scale if self.is_on else loss

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the parameters' gradients by the scale, in place."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        if self.is_on and gradients:
            torch._foreach_mul_(gradients, 1 / self.scale)

    @property
    def can_back_off(self) -> bool:
        """Whether an overflow may be the scale's."""
        return self.is_on and self.scale > LEAST

    def back_off(self) -> None:
        """Halve the scale, after a step that overflowed."""
        self.scale, self._num_kept = self.scale / 2, 0

    def keep(self) -> None:
        """Count a step that did not overflow, and double the scale after many of them."""
        self._num_kept += 1
        if self.is_on and self._num_kept == GROWS_AFTER:
            self.scale, self._num_kept = self.scale * 2, 0

    def state_tensors(self) -> dict[str, Tensor]:
        """What must be saved to resume; nothing when off."""
        if not self.is_on:
            return {}
        return {
            "loss_scale": torch.tensor(self.scale, dtype=torch.float64),
            "loss_scale_kept": torch.tensor(self._num_kept),
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what `state_tensors` returned."""
        if self.is_on and "loss_scale" in tensors:
            self.scale = tensors["loss_scale"].item()
            self._num_kept = int(tensors["loss_scale_kept"])
