"""The families of models: the one place where a family is added.

Importing this module imports no torch: a workflow asks it which rule makes a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from cellmae.errors import ConfigError, DataError
from cellmae.models.architecture import (
    SMALLEST_CROPS,
    read_architecture,
    read_channel_agnostic,
    read_openphenom,
    read_unet,
    seen_tokens,
)
from cellmae.screen.listing import listing

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
Load = Callable[[Any, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Family:
    """How models of a family come about.

    Attributes
    ----------
    build
        Makes the encoder, with fresh weights, of (spec, number of channels, crop size in pixels).
    trained
        Pretraining makes the encoder; otherwise the configuration alone determines it.
    masked
        It is trained to reconstruct masked patches.
    labelled
        It is trained on the perturbations of the wells.
    needs_images
        Embeds crops; otherwise embeddings come from a table of profiles.
    any_channels
        Its encoder embeds crops of other channels than those that it was made for.
    load
        Puts weights from elsewhere, which the spec names, into a fresh encoder.
    """

    build: Build
    trained: bool = False
    masked: bool = False
    labelled: bool = False
    needs_images: bool = True
    any_channels: bool = False
    load: Load | None = None


def _vit(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.vit import ViTEncoder

    return ViTEncoder(read_architecture(spec, crop_size=crop_size), channels=channels, crop_size=crop_size)


def _channel_agnostic(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.channel_agnostic import ChannelAgnosticEncoder

    return ChannelAgnosticEncoder(
        read_architecture(spec, crop_size=crop_size),
        channels=channels,
        crop_size=crop_size,
        per_channel=spec.get("per_channel", False),
    )


def _unet(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.munet import UNetEncoder

    return UNetEncoder(spec.get("size", "tiny"), channels, crop_size, spec.get("patch", 16))


def _classifier(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.classifier import NECK, ClassifierEncoder, ViTBackbone
    from cellmae.models.densenet import build_densenet
    from cellmae.models.vit import ViTEncoder

    backbone: Any
    if spec["architecture"] == "vit":
        vit = ViTEncoder(read_architecture(spec, crop_size=crop_size), channels=channels, crop_size=crop_size)
        backbone, features = ViTBackbone(vit), vit.dim
    else:
        backbone = build_densenet(spec["architecture"], channels)
        features = backbone.num_features
    return ClassifierEncoder(backbone, features, channels=channels, crop_size=crop_size, neck=spec.get("neck") or NECK)


def _untrained(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    architectures = {"vit": _vit, "ca-vit": _channel_agnostic, "unet": _unet}
    return architectures.get(spec.get("architecture", "vit"), _classifier)(spec, channels, crop_size)


def _intensity(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.intensity import IntensityEncoder

    return IntensityEncoder(channels)


def _constant(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.intensity import ConstantEncoder

    return ConstantEncoder()


def _foreground(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.foreground import ForegroundEncoder

    return ForegroundEncoder(channels)


def _pretrained(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.pretrained import PretrainedEncoder

    return PretrainedEncoder(spec["architecture"], channels, crop_size)


def _load_pretrained(encoder: Any, spec: Mapping[str, Any]) -> None:
    from cellmae.models.pretrained import load_pretrained

    load_pretrained(encoder, spec.get("weights"))


def _openphenom(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    from cellmae.models.openphenom import build_openphenom_encoder

    return build_openphenom_encoder(
        channels=channels,
        crop_size=crop_size,
        per_channel=spec.get("per_channel", False),
        embed_block=spec.get("embed_block"),
    )


def _load_openphenom(encoder: Any, spec: Mapping[str, Any]) -> None:
    from cellmae.models.openphenom import load_openphenom

    encoder.load_state_dict(load_openphenom(spec["weights"], channels=encoder.channels).encoder.state_dict())


def _features(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    raise ConfigError("models.family: 'features' has no encoder; its embeddings come from a table of profiles")


def _saved(spec: Mapping[str, Any], channels: int, crop_size: int) -> "nn.Module":
    raise ConfigError(f"models.family: '{spec['family']}' names another model, whose own family builds it")


FAMILIES: dict[str, Family] = {
    "mae": Family(_vit, trained=True, masked=True),
    "ca-mae": Family(_channel_agnostic, trained=True, masked=True, any_channels=True),
    "munet": Family(_unet, trained=True, masked=True),
    "classifier": Family(_classifier, trained=True, labelled=True),
    "untrained": Family(_untrained),
    "intensity": Family(_intensity),
    "constant": Family(_constant),
    "foreground": Family(_foreground),
    "pretrained": Family(_pretrained, load=_load_pretrained),
    "openphenom": Family(_openphenom, any_channels=True, load=_load_openphenom),
    "saved": Family(_saved),
    "point": Family(_saved),
    "features": Family(_features, needs_images=False),
}
"""The families by the name that the configuration calls them."""


def with_points(models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return models and, after each that is trained, those that its ``points`` leave on the way.

    A point is a model of the family ``point``, named after the model and the crops that it has seen.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, spec in models.items():
        found[name] = dict(spec)
        for crops in spec.get("points", ()):
            point = f"{name}-at-{crops}"
            if point in models:
                raise ConfigError(f"models.{point}: this is what a point of {name} is called; choose another name")
            found[point] = {"family": "point", "of": name, "crops": crops}
    return found


def family_of(spec: Mapping[str, Any]) -> Family:
    """Return the family that a model's configuration names."""
    name = spec.get("family")
    if name not in FAMILIES:
        raise ConfigError(f"models.family: '{name}' is unknown; one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def has_blocks(spec: Mapping[str, Any]) -> bool:
    """Say whether a model's encoder can embed by each of its blocks."""
    if spec["family"] == "untrained":
        return spec.get("architecture", "vit") in ("vit", "ca-vit")
    return spec["family"] in ("mae", "ca-mae", "openphenom")


def weight_files(spec: Mapping[str, Any]) -> list[str]:
    """Return the files that a model's weights come from, if they come from elsewhere."""
    weights = spec.get("weights")
    if weights is None:
        return []
    within = {"openphenom": ("config.json", "model.safetensors"), "saved": ("model.yaml",)}
    return [str(Path(weights, name)) for name in within.get(spec["family"], ("",))]


def check_origin(spec: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a ``saved`` model is taken from one place: a folder, or another of the ``models`` of this run.

    Raises
    ------
    ConfigError
        Names the key that does not fit.
    """
    if spec["family"] != "saved":
        return
    weights, of = spec.get("weights"), spec.get("of")
    if (weights is None) == (of is None):
        found = "neither" if weights is None else "both"
        raise ConfigError(f"models.of: found {found} of weights and of, expected one: a folder, or a model of this run")
    origins = [name for name, other in models.items() if other["family"] != "features" and other.get("of") is None]
    if of is not None and of not in origins:
        raise ConfigError(f"models.of: found '{of}', expected one of {listing(origins)}")


def at_block(spec: Mapping[str, Any], block: int | None) -> dict[str, Any]:
    """Return the configuration of the same encoder that embeds by another of its blocks; None leaves it as it is.

    Raises
    ------
    ConfigError
        It has no blocks to choose from.
    """
    if block is None:
        return dict(spec)
    if not has_blocks(spec):
        raise ConfigError(
            f"models.embed_block: found {block}, but models of the family {spec['family']} have no blocks"
        )
    return {**spec, "embed_block": block}


def check_spec(spec: Mapping[str, Any], *, channels: int, crop_size: int) -> None:
    """Check, without torch, what the dimensions of a model and of the crops have to do with each other.

    Raises
    ------
    ConfigError
        Names the key that does not fit.
    DataError
        A file with weights does not exist.
    """
    family, architecture = spec["family"], spec.get("architecture")
    if family in ("mae", "ca-mae") or architecture in ("vit", "ca-vit"):
        read_architecture(spec, crop_size=crop_size)
    if family == "ca-mae" or architecture == "ca-vit":
        read_channel_agnostic(spec, crop_size=crop_size)
    if architecture in SMALLEST_CROPS and crop_size < SMALLEST_CROPS[architecture]:
        raise ConfigError(
            f"tiles.size: found {crop_size}, expected at least {SMALLEST_CROPS[architecture]} for a {architecture}"
        )
    if FAMILIES[family].masked:
        grids = channels if family == "ca-mae" else 1
        seen_tokens(grids * (crop_size // spec.get("patch", 16)) ** 2, spec.get("mask_ratio", 0.75))
    if family == "munet" or architecture == "unet":
        read_unet(spec, crop_size=crop_size)
    if family == "openphenom":
        read_openphenom(spec, channels=channels, crop_size=crop_size)
    for path in weight_files(spec):
        if not Path(path).is_file():
            raise DataError(f"models.weights: the file {path} does not exist; the family {family} needs it")


def build_encoder(spec: Mapping[str, Any], *, channels: int, crop_size: int) -> "nn.Module":
    """Build the encoder of a model's configuration with fresh weights, drawn from torch's random numbers.

    Parameters
    ----------
    spec
        An entry of ``models``.
    channels, crop_size
        Number of channels, and edge of the crops in pixels.
    """
    return family_of(spec).build(spec, channels, crop_size)
