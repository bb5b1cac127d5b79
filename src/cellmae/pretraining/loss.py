"""The reconstruction loss: squared error, and the difference of Fourier magnitudes that brings texture back."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from cellmae.models.masking import Reconstruction

GRADIENT_FLOOR = 1e-12  # under the root of the power, whose slope at zero is infinite


class LossTerms(NamedTuple):
    """Loss of a batch, and the two terms it is made of; scalars."""

    loss: torch.Tensor
    squared_error: torch.Tensor
    fourier: torch.Tensor


class ReconstructionLoss(nn.Module):
    r"""Loss on masked patches, :math:`(1 - a) \cdot \mathrm{MSE} + a \cdot \mathrm{FT}`, in float32.

    Kraus et al. 2023 (arXiv 2309.16064), where models with a = 0.01 are marked "+". FT is the mean absolute
    difference of the un-normalised magnitudes of the two-dimensional Fourier transform of each patch and channel.

    Parameters
    ----------
    fourier_weight
        The weight a; at 0 the Fourier term is not computed and reported as 0.
    patch
        Edge of a patch in pixels.
    """

    transform: torch.Tensor
    conjugates: torch.Tensor

    def __init__(self, *, fourier_weight: float, patch: int) -> None:
        super().__init__()
        self.fourier_weight = fourier_weight
        self.patch = patch
        transform, conjugates = real_fourier_transform(patch)
        self.register_buffer("transform", transform, persistent=False)
        self.register_buffer("conjugates", conjugates, persistent=False)

    def forward(self, reconstruction: Reconstruction) -> LossTerms:
        """Compare prediction and target."""
        prediction, target = reconstruction.prediction.float(), reconstruction.target.float()
        squared_error = functional.mse_loss(prediction, target)
        if not self.fourier_weight:
            return LossTerms(squared_error, squared_error, torch.zeros_like(squared_error))
        with torch.autocast(prediction.device.type, enabled=False):
            difference = (self.magnitudes(prediction) - self.magnitudes(target)).abs()
            fourier = (difference @ self.conjugates).mean() / self.patch**2
        loss = (1 - self.fourier_weight) * squared_error + self.fourier_weight * fourier
        return LossTerms(loss, squared_error, fourier)

    def magnitudes(self, patches: torch.Tensor) -> torch.Tensor:
        """Return |F| of each patch and channel, (images, patch * (patch // 2 + 1)), of patches (..., pixels).

        The columns are those of ``torch.fft.rfft2``.
        """
        images = patches.reshape(-1, self.patch**2)
        real, imaginary = (images @ self.transform).chunk(2, dim=1)
        return (real.square() + imaginary.square() + GRADIENT_FLOOR).sqrt()


def real_fourier_transform(patch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two-dimensional Fourier transform of real images as one real matrix, un-normalised.

    One matrix product is several times faster than FFTs or products along each axis at the size of patches,
    and compiles.

    Returns
    -------
    transform
        (patch * patch, 2 * frequencies): the real parts, then the imaginary parts, of the
        frequencies = patch * (patch // 2 + 1) columns of ``rfft2``.
    conjugates
        (frequencies,): how often each of them occurs in the whole, conjugate-symmetric transform, once or twice.
    """
    pixel = torch.arange(patch, dtype=torch.float64)
    column = torch.arange(patch // 2 + 1, dtype=torch.float64)
    rows = torch.outer(pixel, pixel)[:, None, :, None]  # (y, x, row frequency, column frequency)
    columns = torch.outer(pixel, column)[None, :, None, :]
    angles = (2 * math.pi / patch * (rows + columns)).reshape(patch**2, -1)
    twice = (column > 0) & (2 * column < patch)
    conjugates = torch.where(twice, 2.0, 1.0).repeat(patch)
    return torch.cat([angles.cos(), -angles.sin()], dim=1).float(), conjugates
