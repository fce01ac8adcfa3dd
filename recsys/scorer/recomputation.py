"""Modules whose activations are computed again in the backward pass instead of being kept.

Less memory for a third more time: Chen et al., 2016, "Training Deep Nets with Sublinear Memory
Cost".
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from recsys.scorer.attention import carry_hook


def recompute(module: nn.Module) -> None:
    """Keep only a module's inputs for the backward pass, in training mode.

    The library's own switch knows layers of the towers alone, takes a prefix's keys and values away
    from them, and leaves attention hooks behind. Random numbers and autocast are as they were.

    Args:
        module: called with tensors, and nothing that it changes; its forward pass is replaced.
    """
    forward = module.forward

    def recomputed(*inputs: Any, **options: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return forward(*inputs, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=carry_hook, **options)

    module.forward = recomputed
