"""Crops as sequences of patches, and where each patch lies."""

import numpy as np
import torch
from torch import nn

EPSILON = 1e-5 * 255**2  # added to the variance of pixels; 1e-5 to that of pixel / 255
POSITION_SCALE = 10_000.0  # longest wavelength over 2 pi, in patches (Vaswani et al. 2017)


class SelfStandardise(nn.Module):
    """First layer of all models that do not ask for another: each channel of each crop to mean 0 and deviation 1.

    Instance normalisation of pixel / 255 without learned scale and shift (Kraus et al. 2023, arXiv 2309.16064).
    """

    def forward(self, pixels: torch.Tensor, *, dims: tuple[int, int] = (2, 3)) -> torch.Tensor:
        """Standardise pixels in 0 to 255, uint8 or float, over the two dimensions that hold one channel of one crop.

        Returns
        -------
        float32, of the same shape.
        """
        # In place: on CPUs, fresh memory for each intermediate result takes most of the time.
        values = pixels.to(torch.float32, copy=True)
        values -= values.mean(dims, keepdim=True)
        count = values.shape[dims[0]] * values.shape[dims[1]]
        variance = torch.linalg.vector_norm(values, dim=dims, keepdim=True).square() / count
        values *= torch.rsqrt(variance + EPSILON)
        return values


class Scale(nn.Module):
    """Pixels in 0 to 255 to 0 to 1, where a model shall see how bright a crop is."""

    def forward(self, pixels: torch.Tensor, *, dims: tuple[int, int] = (2, 3)) -> torch.Tensor:
        """Scale pixels, uint8 or float, to float32 of the same shape; ``dims``, as of the layer above, do not count."""
        return pixels.to(torch.float32) / 255


def to_patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Cut images (batch, channels, y, x) into patches (batch, patches row by row, channels * patch * patch)."""
    batch, channels, height, width = images.shape
    grid = images.view(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def from_patches(patches: torch.Tensor, patch: int, channels: int) -> torch.Tensor:
    """Put the patches of square images together again: the inverse of :func:`to_patches`."""
    batch, count, _ = patches.shape
    edge = round(count**0.5)
    grid = patches.view(batch, edge, edge, channels, patch, patch)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, edge * patch, edge * patch)


def take_tokens(tokens: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Take the tokens (batch or 1, length, width) at indices (batch, count); static shapes throughout."""
    batch, length, width = tokens.shape
    if batch > 1:
        indices = indices + length * torch.arange(batch, device=indices.device).unsqueeze(1)
    # Whole rows: on CPUs several times faster than torch.gather, which goes number by number.
    return tokens.reshape(-1, width).index_select(0, indices.flatten()).unflatten(0, indices.shape)


def sincos_positions(edge: int, width: int) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine positions (1, edge * edge, width), as in He et al. 2022 (MAE).

    The first half of the width encodes the column, the second the row; of each, sines come before cosines.
    """
    frequencies = POSITION_SCALE ** -(np.arange(width // 4) / (width / 4))
    rows, columns = np.mgrid[:edge, :edge]
    halves = []
    for coordinate in (columns, rows):
        angles = coordinate.reshape(-1, 1) * frequencies
        halves += [np.sin(angles), np.cos(angles)]
    return torch.from_numpy(np.concatenate(halves, axis=1)).float().unsqueeze(0)
