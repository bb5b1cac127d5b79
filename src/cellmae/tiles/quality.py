"""The quality of tiles, measured on whole 8-bit fields, and the verdict: keep, or the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError
from cellmae.tiles.kernels import count_bright, tile_sums

LOW_CONTRAST, OUT_OF_FOCUS, SATURATED = "low contrast", "out of focus", "saturated"


@dataclass(frozen=True)
class Grid:
    """Tiles of a field, side by side, centred: what is left over lies in equal parts on both sides.

    Attributes
    ----------
    size
        Edge of a tile in pixels.
    tops, lefts
        First row of every row of tiles, first column of every column of tiles.
    """

    size: int
    tops: np.ndarray
    lefts: np.ndarray

    @classmethod
    def over(cls, height: int, width: int, size: int) -> "Grid":
        """Lay the grid over a field; :class:`ConfigError` where not one tile fits."""
        if size > min(height, width):
            raise ConfigError(
                f"tiles.size: {size} is larger than the fields of {height} x {width} pixels: "
                f"choose at most {min(height, width)}"
            )
        tops, lefts = (side % size // 2 + size * np.arange(side // size) for side in (height, width))
        return cls(size, tops, lefts)

    def crop(self, field: np.ndarray) -> np.ndarray:
        """Return the part of a field (..., y, x) that the tiles cover, as a view."""
        top, left = self.tops[0], self.lefts[0]
        return field[..., top : self.tops[-1] + self.size, left : self.lefts[-1] + self.size]


@dataclass(frozen=True)
class Quality:
    """Measures of a field's tiles, tiles row by row.

    Attributes
    ----------
    mean, sd
        Mean and standard deviation of every channel (channels, tiles), in 8-bit units.
    focus
        Variance of the Laplacian of every channel (channels, tiles), in 8-bit units squared (Pech-Pacheco et
        al., Diatom autofocusing in brightfield microscopy, ICPR 2000): low where the image is blurred.
    saturated
        Share of pixels at 255 in the channel that has most of them (tiles,).
    foreground
        Share of pixels whose mean over the channels exceeds the plate's threshold (tiles,).
    """

    mean: np.ndarray
    sd: np.ndarray
    focus: np.ndarray
    saturated: np.ndarray
    foreground: np.ndarray


def measure(field: np.ndarray, grid: Grid, *, foreground: float) -> Quality:
    """Measure the tiles of a field (channels, y, x) uint8.

    The Laplacian (four neighbours; at the border of the grid a pixel stands in for its missing neighbour) is
    taken of the whole field, so that the edges of tiles count for nothing.
    """
    covered = grid.crop(field)
    tiles, pixels = (len(grid.tops), len(grid.lefts)), grid.size**2
    sums = np.zeros((len(covered), 5, *tiles), np.int64)
    for plane, own in zip(covered, sums, strict=True):
        tile_sums(plane, grid.size, own)
    total, squares, full, bend, squared_bend = np.moveaxis(sums, 1, 0).reshape(5, len(covered), -1) / pixels
    bright = np.zeros(tiles, np.int64)
    count_bright(covered, grid.size, foreground * len(covered), bright)
    return Quality(
        mean=total,
        sd=np.sqrt((squares - total**2).clip(0.0)),
        focus=(squared_bend - bend**2).clip(0.0),
        saturated=full.max(axis=0),
        foreground=bright.ravel() / pixels,
    )


def judge(
    tiles: pd.DataFrame,
    *,
    channels: Sequence[str],
    min_contrast: float,
    min_focus: float,
    max_saturated: float,
) -> np.ndarray:
    """Give every tile the first reason against it, or an empty string.

    Parameters
    ----------
    tiles
        A row a tile: ``sd_{channel}``, ``focus_{channel}``, ``saturated``.
    channels
        The channels that vary over the plate.
    min_contrast
        A tile is low in contrast when the standard deviation of *any* of these channels lies below: models
        standardise each channel of a crop, which would blow that channel's read noise up to full scale.
    min_focus
        A tile is out of focus when the Laplacian's variance lies below in *every* channel; one sharp channel
        proves the focus.
    max_saturated
        A tile is saturated when the share of pixels at 255, in the worst channel, lies above.

    Returns
    -------
    Array of strings (tiles,).
    """
    deviation = tiles[[f"sd_{channel}" for channel in channels]].min(axis=1)
    focus = tiles[[f"focus_{channel}" for channel in channels]].max(axis=1)
    verdicts = {
        LOW_CONTRAST: deviation < min_contrast,
        OUT_OF_FOCUS: focus < min_focus,
        SATURATED: tiles["saturated"] > max_saturated,
    }
    return np.select(list(verdicts.values()), list(verdicts), default="")
