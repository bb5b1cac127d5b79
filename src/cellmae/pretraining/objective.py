"""What a training step computes: turn the crops, mask, reconstruct, compare; one graph without a way out."""

import torch
from torch import nn

from cellmae.models.mae import MaskedAutoencoder, Reconstruction
from cellmae.models.patches import take_tokens
from cellmae.pretraining.loss import ReconstructionLoss
from cellmae.pretraining.randomness import orient

METRICS = ("loss", "mse", "fourier", "gradient_norm", "mse_zero", "mse_visible_mean")
"""Names of what is averaged over steps; the gradient's norm is known only after the backward pass."""


class Objective(nn.Module):
    """Masked autoencoder and loss, from crops and chance to numbers."""

    def __init__(self, autoencoder: MaskedAutoencoder, *, fourier_weight: float) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.loss = ReconstructionLoss(fourier_weight=fourier_weight, patch=autoencoder.encoder.patch)

    def forward(
        self, crops: torch.Tensor, orientation: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, and the metrics (loss, mse, fourier, mse_zero, mse_visible_mean) without gradients.

        Parameters
        ----------
        crops
            (batch, channels, size, size) uint8.
        orientation
            (batch, 3) bool, see :func:`cellmae.pretraining.randomness.orientations`.
        noise
            (batch, tokens), see :class:`cellmae.models.MaskedAutoencoder`.
        """
        reconstruction = self.autoencoder(orient(crops, orientation), noise)
        terms = self.loss(reconstruction)
        return terms.loss, torch.stack([*terms, *trivial_errors(reconstruction)]).detach()


def trivial_errors(reconstruction: Reconstruction) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors of guesses that need no training: zero, and the mean of the patches that are seen."""
    guess = take_tokens(reconstruction.patches, reconstruction.visible).mean(dim=1)
    target = reconstruction.target
    of_zero = torch.linalg.vector_norm(target).square() / target.numel()
    # mean((target - guess)^2), the square written out to spare an array of the target's size
    return of_zero, of_zero + (guess.square() - 2 * guess * target.mean(dim=1)).mean()
