"""The architecture keys of a model's configuration: what each size means, and which combinations can be built.

Nothing here needs torch, so that a configuration can be checked before the first job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cellmae.errors import ConfigError

COMMON_PATCHES = (4, 8, 16, 32)  # what a message proposes


@dataclass(frozen=True)
class Architecture:
    """Dimensions of a vision transformer, and of the decoder that trains it.

    Attributes
    ----------
    width, depth, heads
        Of the encoder.
    decoder_width, decoder_depth, decoder_heads
        Of the decoder.
    drop_path
        Rate of stochastic depth at the last block; it grows linearly from 0 at the first.
    layer_scale
        Initial value of LayerScale; 0 leaves it out.
    patch
        Edge of a patch in pixels; it divides the crop.
    final_norm
        Normalise the tokens after the last block. The paper's encoders do not: timm's ``global_pool="avg"``
        makes that norm an identity.
    embed_block
        How many blocks a crop passes before its patch tokens are averaged; None is all of them.
    self_standardise
        Bring each channel of each crop to mean 0 and standard deviation 1, as the paper's encoders do; otherwise
        pixels are only divided by 255.
    """

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    drop_path: float
    layer_scale: float
    patch: int = 16
    final_norm: bool = False
    embed_block: int | None = None
    self_standardise: bool = True


SIZES = {
    # LayerScale starts deep networks near the identity; four blocks and 10^5 crops would not leave it.
    "tiny": Architecture(128, 4, 4, 64, 2, 4, drop_path=0.0, layer_scale=0.1),
    "mini": Architecture(256, 6, 8, 128, 2, 4, drop_path=0.0, layer_scale=0.1),
    "small": Architecture(384, 12, 6, 512, 8, 16, drop_path=0.1, layer_scale=1e-4),
    "base": Architecture(768, 12, 12, 512, 8, 16, drop_path=0.1, layer_scale=1e-4),
    "large": Architecture(1024, 24, 16, 512, 8, 16, drop_path=0.3, layer_scale=1e-4),
}
"""``small``, ``base`` and ``large`` as in Kraus et al. 2023 (arXiv 2309.16064); ``tiny`` and ``mini``, which is
half-way to ``small``, are for CPUs."""

OPENPHENOM_CROP, OPENPHENOM_CHANNELS, OPENPHENOM_DEPTH = 256, 11, 12
"""Edge in pixels of the crops that the published checkpoint takes, how many channels at most, and its blocks."""

CROSS_ATTENTION_HEADS = 8
"""Of the decoder of a channel-agnostic masked autoencoder, as in the authors' code."""

SMALLEST_CROPS = {"densenet161": 32, "densenet-tiny": 16}
"""Edge in pixels of what pooling leaves a pixel of."""


@dataclass(frozen=True)
class UNetArchitecture:
    """Dimensions of a U-Net; each level has half the pixels a side of the one before it.

    Attributes
    ----------
    widths
        Channels of each level, from the first down to the bottleneck.
    blocks
        Residual blocks of each level, on the way down and, but for the bottleneck, again on the way up.
    entry
        Pixels a side that one of the first level stands for: 1 is the full resolution.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    entry: int = 1

    @property
    def factor(self) -> int:
        """Pixels a side that become one in the bottleneck."""
        return self.entry * 2 ** (len(self.widths) - 1)


UNET_SIZES = {
    # Small networks would spend most of their time at the full resolution.
    "tiny": UNetArchitecture((16, 32, 64, 128), (1, 1, 1, 1), entry=2),
    "medium": UNetArchitecture((32, 64, 128, 256, 512, 576), (1, 1, 2, 2, 2, 2)),
    "large": UNetArchitecture((48, 96, 192, 384, 768, 1024), (1, 1, 2, 2, 2, 2)),
}
"""``medium`` and ``large`` have about 40 and 100 million parameters with their decoder; ``tiny`` is for CPUs."""

KEYS = {"size", *(field.name for field in fields(Architecture))} - {"width", "depth", "heads"}
"""Keys of a model's configuration: the size, and what may differ from it."""


def read_architecture(spec: Mapping[str, Any], *, crop_size: int) -> Architecture:
    """Take the architecture from a model's configuration; what it does not say, or leaves null, the size says.

    Parameters
    ----------
    spec
        Configuration of the model, an entry of ``models``.
    crop_size
        Edge of the crops in pixels.

    Raises
    ------
    ConfigError
        Names the key that is unknown or does not fit.
    """
    name = spec.get("size", "tiny")
    if name not in SIZES:
        raise ConfigError(f"models.size: '{name}' is unknown; one of {', '.join(SIZES)}")
    given = {key: spec[key] for key in KEYS - {"size"} if spec.get(key) is not None}
    architecture = replace(SIZES[name], **given)
    _check(architecture, crop_size)
    return architecture


def seen_tokens(tokens: int, mask_ratio: float) -> int:
    """Return how many of the patches of a crop are seen, ``int(tokens * (1 - mask_ratio))``.

    Raises
    ------
    ConfigError
        No patch would be seen, or none masked.
    """
    seen = int(tokens * (1 - mask_ratio))
    if not 0 < seen < tokens:
        raise ConfigError(
            f"models.mask_ratio: {mask_ratio} leaves {seen} of {tokens} patches to be seen, expected at least one seen "
            "and one masked; change it or models.patch"
        )
    return seen


def read_channel_agnostic(spec: Mapping[str, Any], *, crop_size: int) -> Architecture:
    """Take the architecture of a channel-agnostic transformer; arguments and errors as above."""
    architecture = read_architecture(spec, crop_size=crop_size)
    check_cross_attention(architecture)
    return architecture


def check_cross_attention(architecture: Architecture) -> None:
    """Raise :class:`ConfigError` where the heads of a channel-agnostic decoder cannot share its width."""
    if architecture.decoder_width % CROSS_ATTENTION_HEADS:
        raise ConfigError(
            f"models.decoder_width: {architecture.decoder_width} is no multiple of {CROSS_ATTENTION_HEADS}, the heads "
            "of the decoder's cross-attention"
        )


def read_openphenom(spec: Mapping[str, Any], *, channels: int, crop_size: int) -> None:
    """Check what the published checkpoint can do; arguments and errors as above."""
    block = spec.get("embed_block")
    if crop_size != OPENPHENOM_CROP:
        raise ConfigError(f"tiles.size: found {crop_size}, expected {OPENPHENOM_CROP}, which OpenPhenom was trained on")
    if not 1 <= channels <= OPENPHENOM_CHANNELS:
        raise ConfigError(
            f"screen.channels: found {channels}, expected 1 to {OPENPHENOM_CHANNELS}, as OpenPhenom takes"
        )
    if block is not None and not 1 <= block <= OPENPHENOM_DEPTH:
        raise ConfigError(f"models.embed_block: found {block}, expected one of the blocks 1 to {OPENPHENOM_DEPTH}")


def read_unet(spec: Mapping[str, Any], *, crop_size: int) -> UNetArchitecture:
    """Take the dimensions of a U-Net from a model's configuration; arguments and errors as above."""
    name = spec.get("size", "tiny")
    if name not in UNET_SIZES:
        raise ConfigError(f"models.size: '{name}' is unknown; one of {', '.join(UNET_SIZES)}")
    architecture = UNET_SIZES[name]
    if crop_size % architecture.factor:
        raise ConfigError(
            f"tiles.size: found {crop_size}, but a U-Net of size '{name}' needs a multiple of {architecture.factor}"
        )
    _check_patch(spec.get("patch", 16), crop_size)
    return architecture


def _check_patch(patch: int, crop_size: int) -> None:
    if patch < 1 or crop_size % patch:
        fitting = ", ".join(str(edge) for edge in COMMON_PATCHES if crop_size % edge == 0)
        raise ConfigError(
            f"models.patch: {patch} does not divide the crops of {crop_size} pixels (tiles.size)"
            + (f"; choose one of {fitting}" if fitting else "; choose another tiles.size")
        )


def _check(architecture: Architecture, crop_size: int) -> None:
    _check_patch(architecture.patch, crop_size)
    block = architecture.embed_block
    if block is not None and not 1 <= block <= architecture.depth:
        raise ConfigError(f"models.embed_block: found {block}, expected one of the blocks 1 to {architecture.depth}")
    width, heads = architecture.decoder_width, architecture.decoder_heads
    if width % 4 or width % heads:
        raise ConfigError(f"models.decoder_width: {width} is no multiple of 4 and of decoder_heads ({heads})")
