import numpy as np
import pytest
import torch
from torch.nn import functional

from cellmae.errors import ConfigError
from cellmae.models import FAMILIES, build_encoder
from cellmae.pretraining import Plan
from cellmae.pretraining.objective import build_objective

SPECS = {
    "mae": {"patch": 8},
    "ca-mae": {"patch": 8, "drop_path": 0.2},
    "munet": {"size": "tiny", "patch": 8},
    "classifier": {"architecture": "densenet-tiny"},
}


def objective(family, seed=0):
    torch.manual_seed(seed)
    encoder = build_encoder({"family": family, **SPECS[family]}, channels=2, crop_size=16)
    return build_objective(family, encoder, Plan(), classes=3)


def inputs(one, family, batch_size=6):
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (batch_size, 2, 16, 16), dtype=torch.uint8, generator=generator)
    labels = (torch.arange(batch_size) % 3,) if FAMILIES[family].labelled else ()
    return crops, *map(torch.from_numpy, one.chance(0, 1, batch_size=batch_size)), *labels


def test_every_family_that_is_trained_has_an_objective():
    assert set(SPECS) == {name for name, family in FAMILIES.items() if family.trained}
    with pytest.raises(ConfigError, match="not trained"):
        build_objective("intensity", torch.nn.Identity(), Plan())


@pytest.mark.parametrize("family", SPECS)
def test_a_step_gives_its_loss_and_metrics_and_gradients_everywhere(family):
    one = objective(family).eval()
    loss, metrics = one(*inputs(one, family))
    assert metrics.shape == (len(one.METRICS),)
    assert not metrics.requires_grad
    loss.backward()
    assert all(parameter.grad is not None for parameter in one.parameters() if parameter.requires_grad)
    derived = one.derive(dict(zip(one.METRICS, metrics.tolist(), strict=True)))
    assert all(np.isfinite(value) for value in derived.values())


@pytest.mark.slow
@pytest.mark.parametrize("family", SPECS)
def test_a_step_is_one_graph(family):
    one = objective(family).eval()
    given = inputs(one, family)
    compiled = torch.compile(one, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(compiled, one(*given), rtol=1e-4, atol=1e-5)


def test_a_classifier_is_compared_with_its_labels():
    one = objective("classifier").eval()
    crops, turns, labels = inputs(one, "classifier")
    loss, metrics = one(crops, torch.zeros_like(turns), labels)
    logits = one.model(crops)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))
    assert metrics.tolist() == [pytest.approx((logits.argmax(1) == labels).float().mean().item())]
