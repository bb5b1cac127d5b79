"""What is done to planes before their 8-bit range is applied: uneven illumination divided out, pixels joined."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from cellmae.errors import ConfigError, DataError
from cellmae.images import ImageFormat, open_image
from cellmae.logging import logger
from cellmae.tiles.fields import FieldImages
from cellmae.tiles.workers import LostFieldError, Workers

ILLUMINATION_FIELDS = 250
"""Fields that an illumination function is estimated from: then the cells have averaged out."""

ILLUMINATION_EDGE = 128  # pixels of the longer side at which it is smoothed
MEDIAN_SIZE = 25  # of the filter, in these pixels
ROBUST_MINIMUM = 2.0  # percentile to which lower values are raised, so that dark corners do not explode

KEY = "tiles.illumination"


@dataclass(frozen=True)
class Preparation:
    """The same for all fields of a plate.

    Attributes
    ----------
    shape
        Rows and columns of a field afterwards.
    gains
        What each channel is multiplied with, (channels, rows, columns) float32, at the size of the images; None where
        illumination is left as it is.
    """

    shape: tuple[int, int]
    gains: np.ndarray | None = None

    def apply(self, plane: np.ndarray, channel: int) -> np.ndarray:
        """Return the prepared plane (y, x): itself where there is nothing to do, else float32."""
        if self.gains is not None:
            plane = np.multiply(plane, self.gains[channel], dtype=np.float32)
        return plane if plane.shape == self.shape else _resized(plane, self.shape)


def prepared_shape(form: ImageFormat, factor: float) -> tuple[int, int]:
    """Return rows and columns of a field whose pixels are joined, ``factor`` of them to one in both directions."""
    height, width = max(1, round(form.height / factor)), max(1, round(form.width / factor))
    return height, width


def read_gains(pattern: str, *, root: Path, plate: str, channels: Sequence[str], form: ImageFormat) -> np.ndarray:
    """Read a plate's illumination functions and return what planes are multiplied with, (channels, y, x) float32.

    Parameters
    ----------
    pattern
        Path below root of a file a channel, an image or NumPy's ``.npy``, with ``{plate}`` (the plate's own name) and
        ``{channel}``, and ``*`` for any other text within a name.
    root, plate, channels, form
        Where to look, for what, and the format of the plate's images.

    Raises
    ------
    ConfigError
        Not exactly one file matches, or it is not of the size of the images.
    DataError
        A file cannot be read, or holds something else than positive numbers.
    """
    return np.stack(
        [1.0 / _read_function(pattern.format(plate=plate, channel=channel), root, form) for channel in channels]
    ).astype(np.float32)


def _read_function(pattern: str, root: Path, form: ImageFormat) -> np.ndarray:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise ConfigError(f"{KEY}: {len(found)} files below {root} match {pattern}, expected one")
    path = found[0]
    if path.suffix == ".npy":
        try:
            function = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is no NumPy array ({error}): correct {KEY}") from None
    else:
        function = open_image(path.parent, path.name).planes()[0]
    if function.shape != form.shape[1:]:
        raise ConfigError(f"{KEY}: {path} has the shape {function.shape}, the images are {form}")
    if not (np.isfinite(function).all() and (function > 0).all()):
        raise DataError(f"{path} holds values that are not positive numbers: images cannot be divided by it")
    return function


def estimate_gains(fields: Sequence[FieldImages], form: ImageFormat, workers: Workers) -> np.ndarray:
    """Estimate a plate's illumination functions and return what planes are multiplied with, (channels, y, x) float32.

    As CellProfiler's CorrectIlluminationCalculate: the mean over many fields, smoothed by a median filter; values below
    its 2nd percentile are raised to that. Functions have mean 1.

    Parameters
    ----------
    fields
        The fields to take, at best :data:`ILLUMINATION_FIELDS` or more; lost ones do not count.
    form
        Their format.
    workers
        Who decodes them.
    """
    small = prepared_shape(form, max(1.0, max(form.height, form.width) / ILLUMINATION_EDGE))

    def shrunk(field: FieldImages) -> np.ndarray:
        return np.stack([_resized(plane, small) for plane in field.planes(form)])

    count, total = 0, np.zeros((len(fields[0].channels), *small))
    for result in workers.map(shrunk, fields):
        if not isinstance(result, LostFieldError):
            total += result
            count += 1
    if count < ILLUMINATION_FIELDS:
        logger.warning("%s: estimated from %d fields only, cells may shine through", KEY, count)
    smooth = ndimage.median_filter(total / max(count, 1), size=(1, MEDIAN_SIZE, MEDIAN_SIZE), mode="nearest")
    floor = np.percentile(smooth, ROBUST_MINIMUM, axis=(1, 2), keepdims=True)
    functions = np.maximum(smooth, floor)
    functions /= np.where(functions > 0, functions, 1).mean(axis=(1, 2), keepdims=True)
    functions[functions <= 0] = 1.0  # a black channel stays one
    return np.stack([1.0 / _resized(function, form.shape[1:], smooth=True) for function in functions])


def _resized(plane: np.ndarray, shape: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """Return the plane as float32 of another shape, each pixel the mean of those it covers; or interpolated."""
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.BOX
    return np.asarray(picture.resize((shape[1], shape[0]), method))
