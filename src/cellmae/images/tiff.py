"""TIFF, by tifffile: it comes in too many shapes for anything else.

Planes that lie in the file as in memory are taken from its bytes without a copy, and strips of the two common
compressions are decoded to where they belong, which takes four fifths of tifffile's time.
"""

import io
import math
import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import imagecodecs
import numpy as np
import tifffile
from defusedxml import DefusedXmlException

from cellmae.images.image import MAX_FILE_BYTES, ImageFormat, RefusedError, require

UNPACKERS: dict[int, Callable[..., Any]] = {
    tifffile.COMPRESSION.LZW: imagecodecs.lzw_decode,
    tifffile.COMPRESSION.ADOBE_DEFLATE: imagecodecs.deflate_decode,
    tifffile.COMPRESSION.DEFLATE: imagecodecs.deflate_decode,
}
PREDICTORS = (1, tifffile.PREDICTOR.HORIZONTAL)  # 1 is none
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Stack(NamedTuple):
    """How the planes of a file are ordered: their format with z projected, and the sizes and the order of axes."""

    form: ImageFormat
    sizes: dict[str, int]  # of the leading axes, outermost first; among "C" and "Z"


def read_format(file: BinaryIO) -> ImageFormat:
    """Read the header of an open file."""
    with _open(file) as tiff:
        return _stack(tiff).form


def decode(data: bytes, expected: ImageFormat | None, *, z: int | None = None) -> np.ndarray:
    """Decode the bytes of a file to (planes, height, width).

    Parameters
    ----------
    data
        The file: one page a plane, a hyperstack of ImageJ, or OME-TIFF; interleaved channels come first, too.
    expected
        The format that the header must announce.
    z
        The plane of a z stack to take, from 0; None for the maximum over z.
    """
    with _open(io.BytesIO(data)) as tiff:
        form, sizes = _stack(tiff)
        require(form, expected)
        depth = sizes.get("Z", 1)
        if depth * form.nbytes > MAX_FILE_BYTES:
            raise RefusedError(f"the header asks for {depth} z planes of {form}, more than {MAX_FILE_BYTES} bytes")
        _require_whole(tiff, len(data))
        pixels = _view(tiff, data)
        if pixels is None:
            pixels = _unpacked(tiff, data)
        if pixels is None:
            pixels = tiff.asarray(series=0, maxworkers=1)
            if tiff.series[0].axes.endswith("S"):
                pixels = np.moveaxis(pixels, -1, 0)
    if depth > 1:
        pixels = pixels.reshape(*sizes.values(), form.height, form.width)
        axis = list(sizes).index("Z")
        if z is not None and z >= depth:
            raise RefusedError(f"{depth} z planes, the plane {z + 1} was asked for")
        pixels = pixels.max(axis=axis) if z is None else pixels.take(z, axis=axis)
    return np.ascontiguousarray(pixels.reshape(form.shape), dtype=form.dtype)


def _open(file: BinaryIO) -> tifffile.TiffFile:
    # OME metadata may make other files part of a series; a path in the screen means this file alone.
    return tifffile.TiffFile(file, is_ome=False)


def _stack(tiff: tifffile.TiffFile) -> Stack:
    _require_last_page(tiff)
    series = tiff.series[0]
    page = series.keyframe
    kind = tifffile.PHOTOMETRIC(page.photometric)
    if kind != tifffile.PHOTOMETRIC.MINISBLACK:
        raise RefusedError(f"a picture of kind {kind.name}, expected plain grey planes")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise RefusedError(f"pixels of type {page.dtype}, expected integers or floats")
    axes, shape = series.axes, series.shape
    if axes.endswith("S"):
        axes, shape = f"S{axes[:-1]}", (shape[-1], *shape[:-1])
    outer = [(axis, size) for axis, size in zip(axes[:-2], shape[:-2], strict=True) if size > 1]
    sizes = dict(outer)
    if len(outer) == 1 and math.prod((told := _ome_sizes(page.description)).values()) == outer[0][1]:
        outer, sizes = list(told.items()), told
    unknown = [axis for axis, _ in outer if axis != "Z"]
    if len(unknown) > 1 or len(sizes) < len(outer) or "T" in sizes:
        raise RefusedError(f"a stack of shape {shape} (axes {axes}), expected (y, x), (channel, y, x) or with z planes")
    height, width = shape[-2:]
    planes = sizes[unknown[0]] if unknown else 1
    return Stack(ImageFormat(planes, height, width, page.dtype.newbyteorder("=")), sizes)


def _require_last_page(tiff: tifffile.TiffFile) -> None:
    """Refuse files that name another page behind the last, which tifffile leaves out where it is cut off."""
    file, form = tiff.filehandle, tiff.tiff
    file.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(tags * form.tagsize, os.SEEK_CUR)
    if file.read(form.offsetsize) != bytes(form.offsetsize):
        raise RefusedError(f"truncated (page {len(tiff.pages) + 1} is cut off)")


def _ome_sizes(description: str) -> dict[str, int]:
    """Return the sizes of the axes above the planes, outermost first, as OME metadata have them."""
    if "<OME" not in description:
        return {}
    try:
        pixels = defusedxml.ElementTree.fromstring(description, forbid_dtd=True).find(".//{*}Pixels")
    except (ParseError, DefusedXmlException) as error:
        raise RefusedError(f"its metadata cannot be read ({error})") from None
    if pixels is None:
        return {}
    order = reversed(pixels.get("DimensionOrder", "XYCZT")[2:])
    sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in order}
    return {axis: size for axis, size in sizes.items() if size > 1}


def _view(tiff: tifffile.TiffFile, data: bytes) -> np.ndarray | None:
    """Return plain pixels as a view of the file's bytes; None where they are compressed, scattered or swapped."""
    series = tiff.series[0]
    offset, page = series.dataoffset, series.keyframe
    dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    if offset is None or page.is_tiled or not dtype.isnative or page.fillorder != 1 or page.bitspersample % 8:
        return None
    if series.axes.endswith("S") or offset % dtype.itemsize:
        return None
    return np.frombuffer(data, dtype, count=math.prod(series.shape), offset=offset)


def _unpacked(tiff: tifffile.TiffFile, data: bytes) -> np.ndarray | None:
    """Decode plain strips of LZW or Deflate, with or without differences along rows; None where pixels are others."""
    series = tiff.series[0]
    page = series.keyframe
    unpack = UNPACKERS.get(page.compression)
    if unpack is None or page.is_tiled or page.fillorder != 1 or page.bitspersample not in (8, 16):
        return None
    dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    if not dtype.isnative or dtype.kind == "f" or page.samplesperpixel != 1 or page.predictor not in PREDICTORS:
        return None
    pixels = np.empty((len(series.pages), *page.shape[-2:]), dtype)
    for plane, own in zip(pixels, series.pages, strict=True):
        if own is None or len(own.dataoffsets) != -(-len(plane) // page.rowsperstrip):
            return None
        for number, (start, count) in enumerate(zip(own.dataoffsets, own.databytecounts, strict=True)):
            strip = plane[number * page.rowsperstrip : (number + 1) * page.rowsperstrip]
            decoded = unpack(data[start : start + count], out=strip.view(np.uint8).reshape(-1))
            if len(decoded) < strip.nbytes:
                raise RefusedError(f"truncated or damaged (strip {number + 1} has {len(decoded)} bytes)")
            if page.predictor == tifffile.PREDICTOR.HORIZONTAL:
                imagecodecs.delta_decode(strip, axis=-1, out=strip)
    return pixels


def _require_whole(tiff: tifffile.TiffFile, size: int) -> None:
    """Refuse files that end before their last strip or lack one: tifffile would fill some such gaps with zeros."""
    for page in tiff.series[0].pages:
        if page is None:
            continue  # pages of a contiguous series share their frame; its extent is checked with the first
        if not all(page.databytecounts):
            raise RefusedError("truncated or damaged (a strip is missing)")
        end = max(start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        if end > size:
            raise RefusedError(f"truncated ({size} bytes, pixels end at {end})")
