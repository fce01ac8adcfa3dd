"""What image tokens are made of, and how inputs are brought to one scale."""

import pytest
import torch

from recsys.scorer.photo.connector import Connector, ConnectorShape
from recsys.scorer.photo.tower import TowerFeatures, TowerShape, TowerStage

TOWER = TowerShape(stages=(TowerStage(3, 1, 3, 1, 1), TowerStage(4, 1, 3, 1, 1)), head=6, classes=5)
ALL = ConnectorShape((("probabilities",), ("pooled", "logits"), ("statistics",)), (1,))
WIDTH = 7


def seen(num_images: int = 6) -> TowerFeatures:
    generator = torch.Generator().manual_seed(2)
    logits, pooled = torch.randn(num_images, 5, generator=generator), torch.rand(num_images, 6)
    statistics = tuple(torch.rand(num_images, 2 * each.channels) for each in TOWER.stages)
    return TowerFeatures(3 * logits, pooled, statistics)


def test_inputs_are_what_their_names_say() -> None:
    features = seen()
    inputs = Connector(ALL, TOWER, WIDTH).inputs(features)
    expected = features.logits.softmax(dim=1).sqrt()
    torch.testing.assert_close(inputs["probabilities"], expected)
    assert torch.equal(inputs["pooled"], features.pooled)
    assert torch.equal(inputs["logits"], features.logits)
    assert torch.equal(inputs["statistics"], features.statistics[1])


def test_a_class_that_is_out_of_the_question_has_a_finite_slope() -> None:
    logits = torch.tensor([[0.0, -400.0, 400.0, 0.0, 0.0]], requires_grad=True)
    features = TowerFeatures(logits, torch.zeros(1, 6), seen(1).statistics)
    Connector(ALL, TOWER, WIDTH).inputs(features)["probabilities"].sum().backward()
    assert logits.grad.isfinite().all()


def test_each_token_has_its_own_inputs_and_no_others() -> None:
    torch.manual_seed(0)
    connector, features = Connector(ALL, TOWER, WIDTH), seen()
    before = connector(features)
    assert before.shape == (6, 3, WIDTH)
    other = TowerFeatures(features.logits, features.pooled + 1, features.statistics)
    changed = (connector(other) != before).any(dim=-1).any(dim=0)
    assert changed.tolist() == [False, True, False]


def test_what_no_token_has_costs_nothing() -> None:
    connector = Connector(ConnectorShape((("pooled",),), ()), TOWER, WIDTH)
    assert sum(each.numel() for each in connector.parameters()) == (6 + 1) * WIDTH
    assert list(connector.inputs(seen())) == ["pooled"]


def test_pictures_set_the_scale_of_each_feature() -> None:
    connector, features = Connector(ALL, TOWER, WIDTH), seen(50)
    features.pooled[:, 2] = 4.0  # the same in all
    connector.standardise(features)
    for name, scale in connector.scales.items():
        standard = scale(connector.inputs(features)[name])
        torch.testing.assert_close(
            standard.mean(dim=0), torch.zeros(standard.shape[1]), atol=1e-5, rtol=0
        )
        deviation = torch.ones(standard.shape[1])
        if name == "pooled":
            deviation[2] = 0
        torch.testing.assert_close(standard.std(dim=0), deviation, atol=1e-5, rtol=0)
    assert {name.rpartition(".")[2] for name, _ in connector.named_buffers()} == {
        "average",
        "spread",
    }


def test_a_token_may_have_a_layer_between() -> None:
    connector = Connector(ConnectorShape((("pooled",),), (), hidden_size=3), TOWER, WIDTH)
    assert sum(each.numel() for each in connector.parameters()) == (6 + 1) * 3 + (3 + 1) * WIDTH
    assert connector(seen()).shape == (6, 1, WIDTH)


@pytest.mark.parametrize("tokens", [(("colour",),), (), ((),)])
def test_tokens_of_unknown_inputs_or_none_are_refused(tokens) -> None:
    with pytest.raises(ValueError, match="must have inputs among logits, probabilities"):
        ConnectorShape(tokens)


def test_a_shape_is_read_as_it_was_written() -> None:
    shape = ConnectorShape((("pooled", "logits"),), (0, 1), hidden_size=9)
    assert ConnectorShape.from_json(shape.to_json()) == shape
    assert TowerShape.from_json(TOWER.to_json()) == TOWER
