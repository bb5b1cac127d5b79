"""Windows of OME-Zarr images, Zarr v2 and v3, of which only the chunks are read that the window touches.

Zarr fills a chunk that is not stored, because writers leave out chunks without signal. A window of which no chunk is
stored is refused; a gap within a window, or a channel without chunks, cannot be told from darkness (a field that is
flat in one channel is lost at tiling).
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from cellmae.images.image import ImageFormat, RefusedError, as_unreadable, require, require_finite
from cellmae.locations import is_remote

OPEN_ARRAYS = 1024


@dataclass(frozen=True)
class ZarrImage:
    """A window of an array.

    Attributes
    ----------
    path
        The array of one resolution level.
    axes
        Its axes in their order, among ``tczyx``.
    timepoint
        Index along ``t``, from 0.
    channels
        Indices along ``c``, from 0, in the order of the planes.
    y, x
        First row and column, and those behind the last.
    z
        The plane to take, from 0; None for the maximum over z.
    """

    path: Path
    axes: str
    timepoint: int
    channels: tuple[int, ...]
    y: tuple[int, int]
    x: tuple[int, int]
    z: int | None = None

    def __str__(self) -> str:
        """Name array and window."""
        return f"{self.path}#y={self.y[0]}:{self.y[1]}&x={self.x[0]}:{self.x[1]}"

    def format(self) -> ImageFormat:
        """Read the array's metadata, see :class:`cellmae.images.Image`."""
        try:
            return self._format(_open(self.path))
        except Exception as error:
            raise as_unreadable(self, error) from error

    def planes(self, expected: ImageFormat | None = None) -> np.ndarray:
        """Read the window, see :class:`cellmae.images.Image`; a few z planes at a time, as they are chunked."""
        try:
            array = _open(self.path)
            form = self._format(array)
            require(form, expected)
            pixels = self._read(array).astype(form.dtype, copy=False)
            if (pixels == array.fill_value).all() and not self._is_stored(array):
                raise RefusedError("none of its chunks is stored")
            require_finite(pixels)
        except Exception as error:
            raise as_unreadable(self, error) from error
        return pixels

    def _format(self, array: zarr.Array[Any]) -> ImageFormat:
        if len(self.axes) != array.ndim:
            raise RefusedError(f"an array of {array.ndim} axes, expected {self.axes}")
        if array.dtype.kind not in "uif":
            raise RefusedError(f"pixels of type {array.dtype}, expected integers or floats")
        ends = {"t": self.timepoint + 1, "c": max(self.channels) + 1, "y": self.y[1], "x": self.x[1]}
        ends["z"] = 1 if self.z is None else self.z + 1
        sizes = dict(zip("tczyx", [1] * 5, strict=True)) | dict(zip(self.axes, array.shape, strict=True))
        for axis, end in ends.items():
            if end > sizes[axis]:
                raise RefusedError(f"{sizes[axis]} along {axis}, number {end} was asked for")
        height, width = self.y[1] - self.y[0], self.x[1] - self.x[0]
        return ImageFormat(len(self.channels), height, width, array.dtype.newbyteorder("="))

    def _z_range(self, array: zarr.Array[Any]) -> range:
        """Return the first planes of the parts that z is read in."""
        if "z" not in self.axes:
            return range(1)
        axis = self.axes.index("z")
        if self.z is not None:
            return range(self.z, self.z + 1)
        return range(0, array.shape[axis], array.chunks[axis])

    def _read(self, array: zarr.Array[Any]) -> np.ndarray:
        projected: np.ndarray | None = None
        starts = self._z_range(array)
        for start in starts:
            stop = min(start + starts.step, array.shape[self.axes.index("z")]) if "z" in self.axes else 1
            chosen: dict[str, Any] = {"t": slice(self.timepoint, self.timepoint + 1), "c": list(self.channels)}
            chosen |= {"z": slice(start, stop), "y": slice(*self.y), "x": slice(*self.x)}
            part = np.asarray(array.oindex[tuple(chosen[axis] for axis in self.axes)])
            part = np.expand_dims(part, tuple(range(5 - part.ndim)))
            order = [axis for axis in "tczyx" if axis not in self.axes] + list(self.axes)
            part = part.transpose([order.index(axis) for axis in "tczyx"])[0].max(axis=1)
            projected = part if projected is None else np.maximum(projected, part, out=projected)
        assert projected is not None, "an array has at least one plane"
        return projected

    def _is_stored(self, array: zarr.Array[Any]) -> bool:
        """Say whether any chunk of the window is stored."""
        z = self._z_range(array)
        indices = {"t": [self.timepoint], "c": self.channels, "z": range(z.start, z.stop)}
        indices |= {"y": range(*self.y), "x": range(*self.x)}
        sizes = array.shards or array.chunks
        places = [sorted({i // size for i in indices[axis]}) for axis, size in zip(self.axes, sizes, strict=True)]
        keys = (array.metadata.encode_chunk_key(place) for place in itertools.product(*places))
        return any(sync((array.store_path / key).store.exists((array.store_path / key).path)) for key in keys)


def zarr_store(path: Path) -> Store:
    """Return what Zarr reads a folder through, on disk or in object storage."""
    if is_remote(path):
        options = dict(cast("Any", path).storage_options)
        return FsspecStore.from_url(str(path), storage_options=options, read_only=True)
    return LocalStore(path, read_only=True)


@lru_cache(OPEN_ARRAYS)
def _open(path: Path) -> zarr.Array[Any]:
    return zarr.open_array(zarr_store(path), mode="r")
