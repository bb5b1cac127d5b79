"""Adaptive batch normalisation: the statistics of batch-norm layers taken from the crops of one experimental batch.

Li et al. 2016, Revisiting Batch Normalization for Practical Domain Adaptation (arXiv 1603.04779), used on experimental
batches by Kraus et al. 2023 (arXiv 2309.16064).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cellmae.errors import ConfigError, DataError


class Moments:
    """Mean and variance of each feature over batches, merged in double precision.

    T. F. Chan, G. H. Golub and R. J. LeVeque, Algorithms for computing the sample variance, The American Statistician
    37 (1983), 242-247.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: torch.Tensor | float = 0.0
        self.squares: torch.Tensor | float = 0.0  # sum of squared deviations from the mean

    def add(self, values: torch.Tensor) -> None:
        """Take in values (batch, features, ...)."""
        variance, mean = torch.var_mean(values.float().transpose(0, 1).flatten(1), dim=1, correction=0)
        count = values.numel() // values.shape[1]
        before, self.count = self.count, self.count + count
        difference = mean.double() - self.mean
        self.mean = self.mean + difference * (count / self.count)
        self.squares = self.squares + variance.double() * count + difference.square() * (before * count / self.count)


def adapt_batch_norm(encoder: nn.Module, crops: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of all batch-norm layers by those of the given crops, in place.

    One pass: each layer sees its batch as the layers before it, normalising by that batch, leave it, as in training.
    Mean and variance are those of all values of all batches together, neither a moving average nor a mean of the
    batches' variances; the variance is that of the values themselves (divided by their number), so that after one
    batch the encoder returns in evaluation what it returned in training. The encoder is left in evaluation mode.

    Parameters
    ----------
    encoder
        Has ``embed``; with batch-norm layers.
    crops
        Batches (batch, channels, y, x) of 0 to 255, of one experimental batch: many crops each, of all its wells, and
        none that are blank. All are moved to where the encoder is.

    Raises
    ------
    ConfigError
        The encoder has no batch-norm layers.
    DataError
        There are no crops.
    """
    layers = _batch_norms(encoder)
    if not layers:
        raise ConfigError(
            "models.adabn: this model has no batch-norm layers to adapt; set it to false, or models.architecture "
            "to a densenet"
        )
    device = next(encoder.parameters()).device
    moments = [Moments() for _ in layers]
    hooks = [layer.register_forward_pre_hook(_taking_in(moment)) for layer, moment in zip(layers, moments, strict=True)]
    encoder.eval()
    try:
        for layer in layers:
            layer.train()
        with torch.no_grad():
            for batch in crops:
                encoder.embed(batch.to(device))  # type: ignore[operator]
    finally:
        encoder.eval()
        for hook in hooks:
            hook.remove()
    if not all(moment.count for moment in moments):
        raise DataError("no crops to adapt batch norm to: look at the reasons in the tile tables of the batch")
    for layer, moment in zip(layers, moments, strict=True):
        layer.running_mean.copy_(moment.mean)  # type: ignore[union-attr, arg-type]
        layer.running_var.copy_(moment.squares / moment.count)  # type: ignore[union-attr, arg-type]


def take_statistics(module: nn.Module) -> list[torch.Tensor]:
    """Return copies of the running statistics of all batch-norm layers; none where there are no such layers."""
    return [buffer.clone() for layer in _batch_norms(module) for buffer in layer.buffers()]


def put_statistics(module: nn.Module, statistics: list[torch.Tensor]) -> None:
    """Put back what :func:`take_statistics` returned."""
    buffers = [buffer for layer in _batch_norms(module) for buffer in layer.buffers()]
    for buffer, value in zip(buffers, statistics, strict=True):
        buffer.copy_(value)


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]


def _taking_in(moments: Moments) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        moments.add(inputs[0])

    return hook
