from dataclasses import replace

import pytest

from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder
from cellmae.pretraining.optimizers import build_optimizer
from cellmae.pretraining.plan import Plan
from cellmae.pretraining.schedule import first_beta, learning_rate


@pytest.mark.parametrize("optimizer", ["lion", "adamw"])
def test_matrices_decay_and_nothing_else(optimizer):
    architecture = replace(SIZES["tiny"], patch=8)
    model = MaskedAutoencoder(ViTEncoder(architecture, channels=2, crop_size=16), mask_ratio=0.75)
    groups = build_optimizer(model, Plan(optimizer=optimizer, weight_decay=0.07)).param_groups
    rates = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    decayed = {name for name, parameter in model.named_parameters() if rates[id(parameter)]}
    assert len(rates) == len(list(model.parameters()))
    assert {rates[id(parameter)] for parameter in model.parameters()} == {0.0, 0.07}
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert {"encoder.projection.weight", "head.weight", "encoder.blocks.0.in_proj.weight"} <= decayed
    assert "encoder.class_token" not in decayed


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_short_trainings_have_a_schedule_too(steps, warmup):
    rates = [learning_rate(step, steps=steps, peak=1.0, warmup=warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[-1] < 1e-5
    assert max(rates) > 0.9 or steps < 5


def test_momentum_is_lowest_at_the_peak():
    betas = [first_beta(step, steps=100, beta=0.9, warmup=0.1) for step in range(100)]
    assert betas[0] == betas[-1] == pytest.approx(0.9)
    assert min(betas) == betas[9] == pytest.approx(0.9 * 0.85 / 0.95)
