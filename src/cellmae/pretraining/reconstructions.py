"""A figure of what the autoencoder makes of some crops, which says where visible patches are pasted back."""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cellmae.files import atomic_path

FIRST_HUE = 0.62  # blue, for nuclei, which most screens list first
SHOWN_PERCENTILES = (0.5, 99.7)  # of the input, which become black and full colour
MASK_GREY = 0.22
PANEL_INCHES = 2.3
DPI = 130


def draw_reconstructions(
    path: str | Path,
    autoencoder: Any,
    crops: torch.Tensor,
    noise: torch.Tensor,
    *,
    channels: Sequence[str],
) -> None:
    """Draw crops, what the autoencoder sees of them, and what it makes of that: a row a crop.

    Parameters
    ----------
    path
        PNG to write.
    autoencoder
        A masked model, such as :class:`cellmae.models.MaskedAutoencoder`, in evaluation mode.
    crops
        (rows, channels, y, x) of 0 to 255.
    noise
        (rows, tokens), by which patches are masked.
    channels
        Names of the channels.
    """
    encoder = autoencoder.encoder
    with torch.inference_mode():
        standardised, patches = encoder.standardise(crops), encoder.patches(crops)
        predicted = autoencoder.reconstruct(crops, noise)
        _, masked = autoencoder.split(noise)
    hidden = torch.zeros(noise.shape, dtype=torch.bool, device=noise.device).scatter(1, masked, True).unsqueeze(2)
    pasted = torch.where(hidden, predicted, patches)
    unseen = encoder.to_images(hidden.expand_as(predicted)).cpu().numpy()

    colours = channel_colours(len(channels))
    whole = (encoder.to_images(tokens) for tokens in (predicted, pasted))
    images = [image.float().cpu().numpy() for image in (standardised, *whole)]
    figure = Figure(figsize=(4 * PANEL_INCHES, (len(crops) + 0.35) * PANEL_INCHES), dpi=DPI, layout="compressed")
    axes = figure.subplots(len(crops), 4, squeeze=False)
    for row, panels in enumerate(axes):
        low, high = np.percentile(images[0][row], SHOWN_PERCENTILES, axis=(1, 2))
        shown = [composite(image[row], colours, low=low, high=high) for image in images]
        # Where single channels are hidden, the others show; grey is what no channel tells.
        seen = composite(np.where(unseen[row], low[:, None, None], images[0][row]), colours, low=low, high=high)
        seen = np.where(unseen[row].all(axis=0)[:, :, None], MASK_GREY, seen)
        for panel, image in zip(panels, (shown[0], seen, *shown[1:]), strict=True):
            panel.imshow(image, interpolation="nearest")
            panel.set_axis_off()
    share = hidden.float().mean().item()
    titles = (
        "input",
        f"masked input ({share:.0%})",
        "raw reconstruction\n(only masked patches are trained)",
        "reconstruction,\nvisible patches pasted back",
    )
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    swatches = [Patch(color=colour, label=name) for name, colour in zip(channels, colours, strict=True)]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(channels), fontsize=9, frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def channel_colours(count: int) -> np.ndarray:
    """Return a colour a channel, (count, 3) in 0 to 1: hues evenly around the circle; white where there is but one."""
    if count == 1:
        return np.ones((1, 3))
    return np.array([colorsys.hsv_to_rgb((FIRST_HUE + place / count) % 1, 1, 1) for place in range(count)])


def composite(image: np.ndarray, colours: np.ndarray, *, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mix the channels of an image (channels, y, x) into colours (y, x, 3) in 0 to 1.

    Parameters
    ----------
    image, colours
        Channels, and their colours (channels, 3).
    low, high
        Values of each channel that become black and full colour.
    """
    span = np.maximum(high - low, 1e-6)[:, None, None]
    shares = np.clip((image - low[:, None, None]) / span, 0, 1)
    light = np.einsum("cyx,cr->yxr", shares, colours)
    # Each of the three lights is fed by about half of the channels; more would wash out to white.
    return np.clip(light / np.maximum(colours.sum(axis=0) / 2, 1), 0, 1)
