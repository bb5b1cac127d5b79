"""The quality of tiles, measured on whole 8-bit fields, and the verdict: keep, or the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError

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
    channels, size = len(covered), grid.size
    shape = (channels, len(grid.tops), len(grid.lefts))
    mean, sd, focus, saturated = (np.empty(shape) for _ in range(4))
    # Strips of one row of tiles in one channel stay in the processor's cache.
    for channel, plane in enumerate(covered):
        for row in range(len(grid.tops)):
            strip = plane[row * size : (row + 1) * size]
            mean[channel, row], sd[channel, row] = _mean_and_sd(strip, size)
            focus[channel, row] = _mean_and_sd(_laplacian(plane, row * size, size), size)[1] ** 2
            saturated[channel, row] = _tile_sums(strip == 255, size, np.uint32) / size**2
    bright = covered.sum(axis=0, dtype=np.uint16) > foreground * channels
    share = [_tile_sums(strip, size, np.uint32) / size**2 for strip in np.split(bright, shape[1])]
    return Quality(
        mean.reshape(channels, -1),
        sd.reshape(channels, -1),
        focus.reshape(channels, -1),
        saturated.max(axis=0).ravel(),
        np.concatenate(share),
    )


def _tile_sums(strip: np.ndarray, size: int, dtype: type) -> np.ndarray:
    """Sum each of the tiles that lie side by side in a strip (size, tiles * size)."""
    return strip.reshape(size, -1, size).sum(axis=2, dtype=dtype).sum(axis=0)


def _mean_and_sd(strip: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each tile in a strip of integers, from exact sums."""
    mean = _tile_sums(strip, size, np.int64) / size**2
    squares = np.square(strip, dtype=np.int32)
    variance = _tile_sums(squares, size, np.int64) / size**2 - mean**2
    return mean, np.sqrt(variance.clip(0.0))


def _laplacian(plane: np.ndarray, top: int, size: int) -> np.ndarray:
    """Laplacian of the rows ``top`` to ``top + size`` of a plane uint8, as int16."""
    rows = np.arange(top - 1, top + size + 1).clip(0, len(plane) - 1)
    padded = np.pad(plane[rows], ((0, 0), (1, 1)), mode="edge").astype(np.int16)
    laplacian = padded[1:-1, 1:-1] * np.int16(-4)
    laplacian += padded[:-2, 1:-1]
    laplacian += padded[2:, 1:-1]
    laplacian += padded[1:-1, :-2]
    laplacian += padded[1:-1, 2:]
    return laplacian


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
