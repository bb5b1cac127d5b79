import pytest
import torch

from cellmae.models.masking import Reconstruction
from cellmae.pretraining.loss import ReconstructionLoss


def reconstruction(prediction: torch.Tensor, target: torch.Tensor) -> Reconstruction:
    nothing = torch.empty(0)
    return Reconstruction(prediction, target, nothing, nothing, nothing)


def test_the_fourier_term_sees_texture_that_the_squared_error_cannot_tell_from_its_absence():
    """A blurred and a shifted checkerboard are equally wrong pixel by pixel; only the blurred one has no texture."""
    checks = (torch.arange(8).view(-1, 1) + torch.arange(8)).remainder(2).mul(2).sub(1).float().view(1, 1, 64)
    noise = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(0))
    flat, textured = torch.zeros_like(checks), checks + noise / noise.square().mean().sqrt()
    loss = ReconstructionLoss(fourier_weight=0.5, patch=8)
    blurred, noisy = loss(reconstruction(flat, checks)), loss(reconstruction(textured, checks))
    assert blurred.squared_error.item() == pytest.approx(noisy.squared_error.item(), rel=1e-5)
    assert loss(reconstruction(-checks, checks)).fourier.item() == pytest.approx(0, abs=1e-4)
    assert blurred.fourier.item() == pytest.approx(1.0, rel=1e-4)  # |F| = 64 at one of 64 frequencies


def test_without_fourier_the_loss_is_the_squared_error():
    prediction, target = torch.randn(2, 2, 3, 64, generator=torch.Generator().manual_seed(0))
    terms = ReconstructionLoss(fourier_weight=0, patch=8)(reconstruction(prediction, target))
    assert terms.loss == terms.squared_error == (prediction - target).square().mean()
    assert terms.fourier == 0


def test_gradients_are_finite_where_there_is_nothing_to_see():
    prediction = torch.zeros(1, 2, 64, requires_grad=True)
    ReconstructionLoss(fourier_weight=1, patch=8)(reconstruction(prediction, torch.zeros(1, 2, 64))).loss.backward()
    assert prediction.grad.isfinite().all()


def test_autocast_does_not_reach_the_loss():
    prediction, target = torch.randn(2, 2, 3, 64, generator=torch.Generator().manual_seed(0))
    loss = ReconstructionLoss(fourier_weight=0.5, patch=8)
    plain = loss(reconstruction(prediction, target)).fourier
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(reconstruction(prediction, target)).fourier == plain
