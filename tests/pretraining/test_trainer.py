from dataclasses import replace

import pytest
import torch

from cellmae.errors import DataError
from cellmae.models import SIZES, MaskedAutoencoder, ViTEncoder
from cellmae.pretraining import Plan
from cellmae.pretraining.objective import MaskedObjective
from cellmae.pretraining.randomness import masking_noise
from cellmae.pretraining.trainer import MAX_SKIPPED_IN_A_ROW, Trainer

PLAN = Plan(crops_total=800, batch_size=8, optimizer="adamw", learning_rate=3e-3, precision="float32")


def trainer(**changes) -> Trainer:
    torch.manual_seed(0)
    architecture = replace(SIZES["tiny"], width=32, depth=1, decoder_width=16, patch=4)
    model = MaskedAutoencoder(ViTEncoder(architecture, channels=2, crop_size=16), mask_ratio=0.75)
    plan = replace(PLAN, **changes)
    return Trainer(MaskedObjective(model, fourier_weight=plan.fourier_weight), plan, torch.device("cpu"))


@pytest.fixture
def crops() -> torch.Tensor:
    """Crops that a model can learn to complete: a disc of varying size, bright in one channel, dark in the other."""
    y, x = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    discs = (y.square() + x.square()) < torch.linspace(3, 7, 8).square().view(8, 1, 1)
    bright = (50 + 150 * discs).to(torch.uint8)
    return torch.stack([bright, 255 - bright], dim=1)


def weights(one: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in one.objective.model.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_training_learns(crops, optimizer, precision):
    one = trainer(optimizer=optimizer, precision=precision, learning_rate=1e-2)
    for _ in range(one.plan.steps):
        one.take_step(crops)
    r2 = [row["masked_r2"] for row in one.history.rows]
    assert r2[0] < 0.1
    assert r2[-1] > 0.5
    assert {parameter.dtype for parameter in one.objective.model.parameters()} == {torch.float32}


def test_metrics_are_what_they_are_called(crops):
    one = trainer()
    noise = torch.from_numpy(masking_noise(0, 0, batch_size=8, tokens=one.objective.model.encoder.tokens))
    unturned = torch.zeros(8, 3, dtype=torch.bool)
    loss, metrics = one.objective(crops, unturned, noise)
    made = one.objective.model(crops, noise)
    visible = torch.stack([patches[seen].mean(0) for patches, seen in zip(made.patches, made.visible, strict=True)])
    values = dict(zip(one.objective.METRICS, metrics.tolist(), strict=True))
    assert 0.99 * values["mse"] + 0.01 * values["fourier"] == pytest.approx(loss.item())
    assert values["mse"] == pytest.approx((made.prediction - made.target).square().mean().item(), rel=1e-5)
    assert values["mse_zero"] == pytest.approx(made.target.square().mean().item(), rel=1e-5)
    assert values["mse_visible_mean"] == pytest.approx(
        (made.target - visible.unsqueeze(1)).square().mean().item(), rel=1e-4
    )


def test_a_step_without_a_finite_loss_changes_nothing_but_the_count(crops):
    one = trainer()
    one.take_step(crops)
    before = weights(one)
    one.take_step(torch.full_like(crops, float("nan"), dtype=torch.float32))
    assert torch.equal(weights(one), before)
    assert one.history.skipped == 1
    one.take_step(crops)
    assert one.skipped_in_a_row == 0
    assert not torch.equal(weights(one), before)


def test_ten_such_steps_in_a_row_stop_the_training(crops):
    one = trainer()
    nonsense = torch.full_like(crops, float("inf"), dtype=torch.float32)
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        one.take_step(nonsense)
    with pytest.raises(DataError, match=r"learning_rate"):
        one.take_step(nonsense)


def test_gradients_are_clipped(crops):
    one = trainer(gradient_clip=1e-3)
    one.take_step(crops)
    gradients = torch.cat([parameter.grad.flatten() for parameter in one.objective.model.parameters()])
    assert gradients.norm() == pytest.approx(1e-3, rel=1e-3)
    assert one.history.rows[0]["gradient_norm"] > 1e-3


@pytest.mark.slow
def test_the_step_is_one_graph_in_mixed_precision(crops):
    """Nothing in it leads back to Python, so that it can be compiled whole; compiled, it computes the same."""
    objective = trainer().objective
    noise = torch.from_numpy(masking_noise(0, 0, batch_size=8, tokens=16))
    arguments = (crops, torch.zeros(8, 3, dtype=torch.bool), noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")(*arguments)
        torch.testing.assert_close(compiled, objective(*arguments), rtol=1e-4, atol=1e-5)
