"""The families of models: the one place where a family is added.

Importing this module imports no torch: a workflow asks it which rule makes a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from cellmae.errors import ConfigError
from cellmae.models.architecture import read_architecture

if TYPE_CHECKING:
    import torch
    from torch import nn


class Encoder(Protocol):
    """What the stage embeddings needs of a model; every encoder is a torch module."""

    dim: int

    def to(self, device: "torch.device") -> Self:
        """Move to a device."""
        ...

    def embed(self, crops: "torch.Tensor") -> "torch.Tensor":
        """Embed crops (batch, channels, y, x) of 0 to 255 as (batch, dim) float32."""
        ...


Build = Callable[[Mapping[str, Any], int, int], "nn.Module"]


@dataclass(frozen=True)
class Family:
    """How models of a family come about.

    Attributes
    ----------
    trained
        Pretraining makes the encoder; otherwise the configuration alone determines it.
    needs_images
        Embeds crops; otherwise embeddings come from a table of profiles.
    build
        Makes the encoder, with fresh weights, of (spec, number of channels, crop size in pixels).
    """

    trained: bool
    needs_images: bool
    build: Build


def _vit(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.vit import ViTEncoder

    return ViTEncoder(read_architecture(spec, crop_size=crop_size), channels=channels, crop_size=crop_size)


def _intensity(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.intensity import IntensityEncoder

    return IntensityEncoder(channels)


def _constant(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.intensity import ConstantEncoder

    return ConstantEncoder()


def _features(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    raise ConfigError("models.family: 'features' has no encoder; its embeddings come from a table of profiles")


FAMILIES: dict[str, Family] = {
    "mae": Family(trained=True, needs_images=True, build=_vit),
    "untrained": Family(trained=False, needs_images=True, build=_vit),
    "intensity": Family(trained=False, needs_images=True, build=_intensity),
    "constant": Family(trained=False, needs_images=True, build=_constant),
    "features": Family(trained=False, needs_images=False, build=_features),
}


def family_of(spec: Mapping[str, Any]) -> Family:
    """Return the family that a model's configuration names."""
    name = spec.get("family")
    if name not in FAMILIES:
        raise ConfigError(f"models.family: '{name}' is unknown; one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
