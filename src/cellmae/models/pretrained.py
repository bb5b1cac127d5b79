"""Networks of timm as frozen encoders, the paper's baselines that were trained on photographs."""

import difflib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cellmae.errors import ConfigError, DataError
from cellmae.models.patches import SelfStandardise

PROPOSED_NAMES = 3
MESSAGE_LETTERS = 300  # kept of what timm or torch say, which may list every weight of a network
WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model")  # under which training scripts save weights


class PretrainedEncoder(nn.Module):
    """A network of timm without its classifier, frozen; its weights are random until :func:`load_pretrained`.

    As the ImageNet baselines of Kraus et al. 2023 (arXiv 2309.16064), it sees self-standardised crops, not ImageNet's
    mean and deviation. The embedding is what timm's classifier would see, pooled as the network pools.

    Parameters
    ----------
    name
        Name of the network in timm, with or without the tag of its weights, as ``vit_base_patch16_224.augreg_in21k``.
    channels, crop_size
        Number of channels, and edge of the crops in pixels. A network that is built for one size of image is built for
        this one, and positions that it has learned are interpolated by timm.

    Raises
    ------
    ConfigError
        timm does not know the name, or cannot build the network for such crops.
    """

    def __init__(self, name: str, channels: int, crop_size: int) -> None:
        super().__init__()
        _check_name(name)
        self.name, self.channels, self.crop_size = name, channels, crop_size
        self.standardise = SelfStandardise()
        try:
            self.backbone = self.build()
            with torch.inference_mode():
                features = self.backbone(torch.zeros(1, channels, crop_size, crop_size))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"models.architecture: timm cannot build '{name}' for {channels} channels and crops of {crop_size} "
                f"pixels ({one_line(error)}); choose another network or tiles.size"
            ) from None
        if features.ndim != 2:
            raise ConfigError(f"models.architecture: '{name}' does not pool its features; choose another network")
        self.dim = features.shape[1]

    def build(self, **options: Any) -> nn.Module:
        """Let timm build the network, in evaluation mode and without gradients; options go to ``timm.create_model``."""
        facts = timm.get_pretrained_cfg(self.name)
        if facts is not None and facts.fixed_input_size:
            options["img_size"] = self.crop_size
        network = timm.create_model(self.name, in_chans=self.channels, num_classes=0, **options)
        return network.requires_grad_(False).eval()

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as (batch, dim) float32."""
        return self.backbone(self.standardise(crops)).float()


def load_pretrained(encoder: PretrainedEncoder, weights: str | None = None) -> None:
    """Give an encoder its pretrained weights, in place.

    timm adapts them: the first convolution to the number of channels (it repeats those of the file and scales them so
    that the response keeps its size), positions to the size of the crops. A classifier is left out.

    Parameters
    ----------
    encoder
        Of the network that the weights belong to.
    weights
        A file with the weights, safetensors or torch, whatever its suffix; None takes those of timm's hub, which needs
        the internet when they are not in its cache.

    Raises
    ------
    ConfigError
        There is no such file.
    DataError
        The file is damaged or of another network, or the hub cannot be reached or has no weights.
    """
    if weights is None:
        source = f"timm's hub gave no weights of '{encoder.name}'"
        advice = "; connect to the internet, or name a file, weights: path"
        options: dict[str, Any] = {}
    else:
        source = f"{weights} does not hold the weights of '{encoder.name}'"
        advice = "; take the file of that network, or its name for models.architecture"
        options = {"state_dict": read_weights(weights)}
    try:
        loaded = [_load_seeded(encoder, options, seed) for seed in (0, 1)]
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"models.weights: {source} ({one_line(error)}){advice}") from None
    # timm fills what it does not find by chance, and says so only in its log.
    first, second = (network.state_dict() for network in loaded)
    if missing := [name for name, value in first.items() if not torch.equal(value, second[name])]:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(f"models.weights: {source} (missing: {missing[0]}{others}){advice}")
    encoder.backbone.load_state_dict(first)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read named weights from a safetensors or a torch file, told apart by content; nothing in it is executed.

    Raises
    ------
    ConfigError
        There is no such file.
    DataError
        It is damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"models.weights: there is no file {path}")
    try:
        with open(path, "rb") as file:  # by its name, torch would trust the suffix
            content = load_file(path) if _is_safetensors(path) else torch.load(file, "cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(
            f"models.weights: {path} is damaged, or neither a safetensors file nor a torch file of weights alone "
            f"({one_line(error)})"
        ) from None
    for wrapping in WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise DataError(
            f"models.weights: {path} holds no named weights; expected what a network's state_dict() returns"
        )
    return timm.models.clean_state_dict(dict(content))


def one_line(error: Exception) -> str:
    """Return what an error says as one line of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= MESSAGE_LETTERS else words[:MESSAGE_LETTERS] + " ..."


def _load_seeded(encoder: PretrainedEncoder, options: Mapping[str, Any], seed: int) -> nn.Module:
    """Build the network with pretrained weights; what these leave open is by chance, of this seed."""
    overlay = {key: dict(value) for key, value in options.items()}  # timm removes what it leaves out
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return encoder.build(pretrained=True, pretrained_cfg_overlay=overlay)


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), PROPOSED_NAMES)
        proposal = f"; do you mean {' or '.join(close)}?" if close else "; timm.list_models() lists those it knows"
        raise ConfigError(f"models.architecture: timm has no network '{name}'{proposal}")
    architecture, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ConfigError(
            f"models.architecture: timm has no weights '{tag}' of '{architecture}'; "
            + (f"one of {', '.join(tags)}" if tags else "name it without a tag")
        )


def _is_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors do: eight bytes of length, and a JSON object."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"
