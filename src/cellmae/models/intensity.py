"""Baselines without weights: what brightness alone says, and an embedding that says nothing."""

import torch
from torch import nn

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CONSTANT_DIM = 8


class IntensityEncoder(nn.Module):
    """Mean, standard deviation, skewness and quantiles of each channel's pixels.

    It sees absolute intensities, which self-standardising models cannot.
    """

    quantiles: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = channels * (3 + len(QUANTILES))
        self.register_buffer("quantiles", torch.tensor(QUANTILES), persistent=False)

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Describe crops (batch, channels, y, x) of 0 to 255 by (batch, dim) float32; a flat channel has skewness 0."""
        pixels = crops.flatten(2).float()
        variance, mean = torch.var_mean(pixels, dim=2, correction=0)
        deviation = variance.sqrt()
        third = (pixels - mean.unsqueeze(2)).pow(3).mean(dim=2)
        skewness = torch.where(deviation > 0, third / deviation.pow(3), torch.zeros_like(third))
        quantiles = torch.quantile(pixels, self.quantiles, dim=2)
        return torch.cat([mean, deviation, skewness, *quantiles], dim=1)


class ConstantEncoder(nn.Module):
    """The same vector for every crop: a score that rises above chance on it is no score."""

    dim = CONSTANT_DIM

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Return ones, (batch, dim) float32, whatever the crops are."""
        return torch.ones(len(crops), self.dim, device=crops.device)
