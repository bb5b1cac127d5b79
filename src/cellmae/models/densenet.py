"""DenseNets (Huang et al. 2017, arXiv 1608.06993), the networks of the paper's weakly supervised models."""

from dataclasses import dataclass

import timm
from torch import nn

from cellmae.errors import ConfigError


@dataclass(frozen=True)
class DenseNetSize:
    """Dimensions of a DenseNet-BC.

    Attributes
    ----------
    growth
        Channels that each layer adds; the first convolution makes twice as many.
    layers
        Layers of each dense block.
    """

    growth: int
    layers: tuple[int, ...]


DENSENETS = {
    "densenet161": DenseNetSize(48, (6, 12, 36, 24)),
    "densenet-tiny": DenseNetSize(12, (3, 3, 3)),
}
"""``densenet161`` as in its paper and in Kraus et al. 2023 (arXiv 2309.16064); ``densenet-tiny`` is for CPUs."""


def build_densenet(name: str, channels: int) -> nn.Module:
    """Build a DenseNet of timm without its classifier, with fresh weights.

    Parameters
    ----------
    name
        A key of :data:`DENSENETS`.
    channels
        Number of channels of its input.

    Returns
    -------
    A module that turns pixels (batch, channels, y, x) into the means of its last features, (batch, features); how many
    these are stands in its attribute ``num_features``.
    """
    if name not in DENSENETS:
        raise ConfigError(f"models.architecture: '{name}' is unknown; one of {', '.join(DENSENETS)}")
    size = DENSENETS[name]
    return timm.models.DenseNet(growth_rate=size.growth, block_config=size.layers, in_chans=channels, num_classes=0)
