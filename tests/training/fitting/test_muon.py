"""Muon in float32 beside PyTorch's."""

import torch
from torch import nn

from training.fitting.muon import Muon, orthogonalised


def weights_of(number: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(number)
    shapes = [(24, 8), (8, 24), (24, 8), (16, 16)]
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def test_steps_are_those_of_pytorch_within_the_rounding_of_its_type() -> None:
    ours, theirs = weights_of(1), weights_of(1)
    options = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    pairs = ((ours, Muon(ours, **options)), (theirs, torch.optim.Muon(theirs, **options)))
    start = [each.detach().clone() for each in ours]
    for weights, optimizer in pairs:
        for step in range(4):
            for place, weight in enumerate(weights):
                generator = torch.Generator().manual_seed(10 * step + place)
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
    for before, mine, other in zip(start, ours, theirs, strict=True):
        moved = (other - before).norm()
        assert (mine - other).norm() < 0.03 * moved  # bfloat16 has 8 bits
        assert moved > 0


def test_a_parameter_without_a_gradient_stays() -> None:
    weights = weights_of(2)
    before = [each.detach().clone() for each in weights]
    weights[0].grad = torch.ones_like(weights[0])
    Muon(weights, lr=0.1).step()
    assert [torch.equal(*each) for each in zip(before, weights, strict=True)] == [
        False,
        True,
        True,
        True,
    ]


def test_singular_values_are_brought_near_one() -> None:
    matrices = torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(3))
    made = orthogonalised(matrices, (3.4445, -4.775, 2.0315), 5)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5
    assert values.max() < 1.3
    alone = torch.cat(
        [orthogonalised(each[None], (3.4445, -4.775, 2.0315), 5) for each in matrices]
    )
    torch.testing.assert_close(made, alone)
