"""The published OpenPhenom-S/16 checkpoint, a channel-agnostic masked autoencoder, read from a local folder.

Its layout is that of the authors' code, https://github.com/recursionpharma/maes_microscopy. The names in it are the
same whether timm 0.9.7, with which the weights were saved, or a timm of today built the blocks.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError  # how torch refuses a file that holds more than weights
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cellmae.errors import DataError
from cellmae.models.architecture import OPENPHENOM_CROP, Architecture, read_openphenom
from cellmae.models.channel_agnostic import ChannelAgnosticAutoencoder, ChannelAgnosticEncoder

ARCHITECTURE = Architecture(384, 12, 6, 512, 8, 16, drop_path=0.1, layer_scale=1e-4, patch=16)
DECODED_CHANNELS = 6
MASK_RATIO = 0.75  # in the training

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_TYPE = "MAE"
TORCH_MAGIC = b"PK\x03\x04"  # torch.save writes zip archives
LFS_MAGIC = b"version https://git-lfs"
NAMES_SHOWN = 3

THEIR_PREFIXES = {
    "encoder.class_token": "encoder.vit_backbone.cls_token",
    "encoder.positions": "encoder.vit_backbone.pos_embed",
    "encoder.projection.": "encoder.vit_backbone.patch_embed.proj.",
    "encoder.blocks.": "encoder.vit_backbone.blocks.",
    "bridge.": "encoder_decoder_proj.",
    "positions": "decoder.pos_embeddings",
    "channel_tokens.": "decoder.modality_tokens.",
    "stacks.": "decoder.decoders.",
    "head.": "decoder_pred.",
}
"""How names begin in our model and in the checkpoint; all others have ``decoder.`` in front of ours."""

UNUSED = {
    # timm's global_pool="avg" makes this norm, which embeddings do not pass.
    "encoder.vit_backbone.fc_norm.weight": (ARCHITECTURE.width,),
    "encoder.vit_backbone.fc_norm.bias": (ARCHITECTURE.width,),
    # The class token's share in the channel tokens; the decoder has no use for it.
    "decoder.placeholder": (1, 1, ARCHITECTURE.decoder_width),
}
"""What the checkpoint holds and nothing needs."""


def build_openphenom_encoder(
    *,
    channels: int,
    crop_size: int = OPENPHENOM_CROP,
    per_channel: bool = False,
    embed_block: int | None = None,
) -> ChannelAgnosticEncoder:
    """Build the encoder of OpenPhenom-S/16 with fresh weights.

    Parameters
    ----------
    channels
        Number of channels of the crops that it shall embed, up to 11.
    crop_size
        Edge of the crops in pixels; 256 alone is possible.
    per_channel
        Embed crops as the means of each channel's tokens, one after the other: 384 numbers a channel.
    embed_block
        How many of the 12 blocks a crop passes before its patch tokens are averaged; None is all of them.

    Raises
    ------
    ConfigError
        It cannot take such crops, or has no such block.
    """
    read_openphenom({"embed_block": embed_block}, channels=channels, crop_size=crop_size)
    architecture = replace(ARCHITECTURE, embed_block=embed_block)
    return ChannelAgnosticEncoder(architecture, channels=channels, crop_size=crop_size, per_channel=per_channel)


def build_openphenom(*, mask_ratio: float = MASK_RATIO, **options: Any) -> ChannelAgnosticAutoencoder:
    """Build all of OpenPhenom-S/16 with fresh weights; its decoder, seven times the encoder, is for six channels.

    Parameters
    ----------
    mask_ratio
        Share of the patches that are masked where crops are reconstructed.
    options
        Of the encoder, see :func:`build_openphenom_encoder`.
    """
    # nn.LayerNorm's own epsilon, 1e-5: the released code takes it, whatever its configuration says.
    return ChannelAgnosticAutoencoder(
        build_openphenom_encoder(**options),
        mask_ratio=mask_ratio,
        channels=DECODED_CHANNELS,
        norm_layer=nn.LayerNorm,
    )


def load_openphenom(
    folder: str | Path,
    *,
    channels: int,
    per_channel: bool = False,
    embed_block: int | None = None,
) -> ChannelAgnosticAutoencoder:
    """Read OpenPhenom-S/16, in evaluation mode, on the CPU.

    Parameters
    ----------
    folder
        Local copy of the Hugging Face repository: ``config.json`` and ``model.safetensors``, be that a safetensors
        file or, as the authors' own code saves it under this name, an archive of ``torch.save``.
    channels, per_channel, embed_block
        What its ``encoder`` shall embed and how, as in :func:`build_openphenom_encoder`.

    Raises
    ------
    ConfigError
        The encoder cannot take so many channels, or has no such block.
    DataError
        A file is missing, or does not hold the weights of this model.
    """
    folder = Path(folder)
    mask_ratio = _read_mask_ratio(folder / CONFIG)
    with torch.device("meta"):  # costs no memory and no random numbers: every value is read
        model = build_openphenom(
            channels=channels, per_channel=per_channel, embed_block=embed_block, mask_ratio=mask_ratio
        )
    weights = _read_weights(folder / WEIGHTS)
    _check_layout(folder / WEIGHTS, weights, _layout(model))
    model.to_empty(device="cpu")
    model.load_state_dict({name: _ours(name, weights).reshape(to.shape) for name, to in model.state_dict().items()})
    return model.eval()


def _their_name(name: str) -> str:
    """Return the checkpoint's name of a parameter or buffer of our model."""
    for ours, theirs in THEIR_PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return f"decoder.{name}"


def _layout(model: ChannelAgnosticAutoencoder) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of all that the checkpoint must hold."""
    shapes = {_their_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    patch = model.encoder.patch
    shapes["encoder.vit_backbone.patch_embed.proj.weight"] = (ARCHITECTURE.width, 1, patch, patch)
    shapes["decoder.pos_embeddings"] = (1, 1 + model.positions.shape[1], ARCHITECTURE.decoder_width)
    return shapes | UNUSED


def _ours(name: str, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the checkpoint's value of a parameter or buffer of our model, but for its shape."""
    value = weights[_their_name(name)]
    return value[:, 1:] if name == "positions" else value  # our decoder has no row for the class token


def _check_layout(path: Path, weights: Mapping[str, torch.Tensor], layout: Mapping[str, tuple[int, ...]]) -> None:
    """Raise a DataError unless the weights are exactly those of a layout, in floating point."""
    missing = [name for name in layout if name not in weights]
    unknown = [repr(name) for name in weights if name not in layout]
    different = [
        f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} for {layout[name]} float32"
        for name, value in weights.items()
        if name in layout and (tuple(value.shape) != layout[name] or not value.is_floating_point())
    ]
    found = {"lacks": missing, "has unknown": unknown, "has": different}
    faults = [f"it {verb} {_some(names)}" for verb, names in found.items() if names]
    if faults:
        raise DataError(
            f"{path} does not hold the {len(layout)} weights of OpenPhenom-S/16: {'; '.join(faults)}; "
            "download the repository again"
        )


def _some(names: list[str]) -> str:
    """List the first of some names, and count the others."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _read_mask_ratio(path: Path) -> float:
    """Read from ``config.json`` the share of patches that were masked in training."""
    _check_there([path, path.with_name(WEIGHTS)])
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): download the repository again") from None
    found = config.get("model_type") if isinstance(config, dict) else config
    if found != MODEL_TYPE:
        raise DataError(f"{path} is of another model: found model_type {found!r}, expected {MODEL_TYPE!r}")
    ratio = config.get("mask_ratio")
    if not isinstance(ratio, float) or not 0 < ratio < 1:
        raise DataError(f"{path}: found mask_ratio {ratio!r}, expected a number between 0 and 1")
    return ratio


def _check_there(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path} is missing: expected {CONFIG} and {WEIGHTS} of OpenPhenom-S/16, "
                "as in its Hugging Face repository"
            )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint; what its first bytes are tells its format, not its name."""
    with path.open("rb") as file:
        head = file.read(len(LFS_MAGIC))
    if head == LFS_MAGIC:
        raise DataError(f"{path} is a pointer of Git LFS, not the weights: fetch them with 'git lfs pull'")
    if head.startswith(TORCH_MAGIC):
        return _read_torch(path)
    if head[8:9] == b"{":  # the length of a JSON header, then the header
        try:
            return load_file(path)
        except SafetensorError as error:
            raise DataError(f"{path} is damaged ({_one_line(error)}): download it again") from None
    raise DataError(f"{path} is no checkpoint: it starts with {head[:8]!r}, neither as safetensors nor as torch.save")


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        with path.open("rb") as file:  # from a path, newer PyTorch would judge by the suffix
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise DataError(
            f"{path} is damaged or holds more than weights, and is not read ({_one_line(error)}): download it again"
        ) from None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise DataError(f"{path} holds no weights under 'state_dict', where the authors' code puts them")
    return weights


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
