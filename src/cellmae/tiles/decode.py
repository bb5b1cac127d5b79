"""Image files to planes: PNG by imagecodecs, TIFF by tifffile; what cannot be used says why.

A 16-bit PNG takes imagecodecs two thirds of Pillow's time. TIFF comes in too many shapes for anything but
tifffile, which is as fast as libtiff on deflated planes and names the damage in truncated ones.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from cellmae.errors import DataError

MAX_DECODED_BYTES = 2**31
"""A header that asks for more is taken for damage: nothing is allocated on its word."""

MAX_REASON_LENGTH = 160

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = struct.Struct(">8s4x4sIIBB")  # signature, length, "IHDR", width, height, bit depth, colour type
PNG_COLOURS = {2: "an RGB picture", 3: "a picture with a palette", 4: "grey with alpha", 6: "an RGBA picture"}
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class UnreadableImageError(DataError):
    """An image file that cannot be used; ``reason`` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        """Name the file and the reason."""
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class ImageFormat:
    """What a file's header says of its pixels."""

    planes: int
    height: int
    width: int
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns."""
        return self.planes, self.height, self.width

    def __str__(self) -> str:
        """Say it as messages do: ``6 planes of 512 x 512 uint16``."""
        planes = f"{self.planes} planes of " if self.planes > 1 else ""
        return f"{planes}{self.height} x {self.width} {self.dtype}"


def read_format(path: str | Path) -> ImageFormat:
    """Read the header of an image file, without its pixels.

    Raises
    ------
    UnreadableImageError
        The file is missing, empty, neither PNG nor TIFF, a colour picture, or of a pixel type other than
        integers and floats.
    """
    path = Path(path)
    if _is_png(path):
        with path.open("rb") as file:
            return _png_format(path, file.read(PNG_HEADER.size))
    try:
        with _open_tiff(path) as tiff:
            return _tiff_format(path, tiff)
    except Exception as error:
        raise _as_unreadable(path, error) from error


def read_planes(path: str | Path, *, expected: ImageFormat | None = None) -> np.ndarray:
    """Decode all planes of an image file.

    Parameters
    ----------
    path
        PNG, or TIFF with one page a plane or one hyperstack; told by the content, not by the suffix.
    expected
        The format that the header must announce; another one is refused before anything is decoded.

    Returns
    -------
    Array (planes, height, width) in the file's pixel type and the machine's byte order.

    Raises
    ------
    UnreadableImageError
        As :func:`read_format`; also where the format is not the expected one, pixels are missing or
        damaged, or a float is not finite.
    """
    path = Path(path)
    try:
        pixels = _read_png(path, expected) if _is_png(path) else _read_tiff(path, expected)
    except Exception as error:
        raise _as_unreadable(path, error) from error
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnreadableImageError(path, "holds pixels that are not finite")
    return pixels


def _as_unreadable(path: Path, error: Exception) -> Exception:
    """Turn whatever a decoder throws at damaged bytes into a reason; a shortage of memory is no damage."""
    if isinstance(error, UnreadableImageError | MemoryError):
        return error
    text = " ".join(str(error).split())[:MAX_REASON_LENGTH]
    return UnreadableImageError(path, f"truncated or damaged ({text or type(error).__name__})")


def _is_png(path: Path) -> bool:
    """Tell PNG from TIFF by the first bytes, and refuse what is neither."""
    try:
        with path.open("rb") as file:
            start = file.read(len(PNG_SIGNATURE))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise UnreadableImageError(path, "file is missing" if missing else str(error.strerror)) from None
    if not start:
        raise UnreadableImageError(path, "file is empty")
    if start != PNG_SIGNATURE and not start.startswith(TIFF_SIGNATURES):
        raise UnreadableImageError(path, "neither PNG nor TIFF")
    return start == PNG_SIGNATURE


def _read_png(path: Path, expected: ImageFormat | None) -> np.ndarray:
    data = path.read_bytes()
    _require(path, _png_format(path, data[: PNG_HEADER.size]), expected)
    return imagecodecs.png_decode(data)[np.newaxis]


def _png_format(path: Path, header: bytes) -> ImageFormat:
    if len(header) < PNG_HEADER.size:
        raise UnreadableImageError(path, "truncated or damaged (the header is cut off)")
    _, kind, width, height, depth, colour = PNG_HEADER.unpack(header)
    if kind != b"IHDR":
        raise UnreadableImageError(path, "truncated or damaged (the header is garbled)")
    if colour != 0:
        found = PNG_COLOURS.get(colour, f"of unknown colour type {colour}")
        raise UnreadableImageError(path, f"{found}, expected one grey plane")
    if depth not in (8, 16):
        raise UnreadableImageError(path, f"{depth}-bit pixels, expected 8 or 16 bits")
    return ImageFormat(1, height, width, np.dtype(f"uint{depth}"))


def _open_tiff(path: Path) -> tifffile.TiffFile:
    # OME metadata may make other files part of a series; a path in the screen means this file alone.
    return tifffile.TiffFile(path, is_ome=False)


def _read_tiff(path: Path, expected: ImageFormat | None) -> np.ndarray:
    with _open_tiff(path) as tiff:
        form = _tiff_format(path, tiff)
        _require(path, form, expected)
        _require_whole(path, tiff)
        pixels = tiff.asarray(series=0, maxworkers=1)
        if tiff.series[0].axes.endswith("S"):
            pixels = np.moveaxis(pixels, -1, 0)
    return np.ascontiguousarray(pixels.reshape(form.shape), dtype=form.dtype)


def _tiff_format(path: Path, tiff: tifffile.TiffFile) -> ImageFormat:
    series = tiff.series[0]
    page = series.keyframe
    kind = tifffile.PHOTOMETRIC(page.photometric)
    if kind != tifffile.PHOTOMETRIC.MINISBLACK:
        raise UnreadableImageError(path, f"a picture of kind {kind.name}, expected plain grey planes")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise UnreadableImageError(path, f"pixels of type {page.dtype}, expected integers or floats")
    shape = (series.shape[-1], *series.shape[:-1]) if series.axes.endswith("S") else series.shape
    if len(shape) not in (2, 3):
        raise UnreadableImageError(path, f"a stack of shape {shape}, expected (y, x) or (channel, y, x)")
    planes, height, width = (1, *shape)[-3:]
    return ImageFormat(planes, height, width, page.dtype.newbyteorder("="))


def _require(path: Path, found: ImageFormat, expected: ImageFormat | None) -> None:
    if expected is not None and found != expected:
        raise UnreadableImageError(path, f"{found}, expected {expected}")
    if math.prod(found.shape) * found.dtype.itemsize > MAX_DECODED_BYTES:
        raise UnreadableImageError(path, f"the header asks for {found}, more than {MAX_DECODED_BYTES} bytes")


def _require_whole(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse files that end before their last strip or lack one: tifffile would fill some such gaps with zeros."""
    for page in tiff.series[0].pages:
        if page is None:
            continue  # pages of a contiguous series share their frame; its extent is checked with the first
        if not all(page.databytecounts):
            raise UnreadableImageError(path, "truncated or damaged (a strip is missing)")
        end = max(start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        if end > tiff.filehandle.size:
            raise UnreadableImageError(path, f"truncated ({tiff.filehandle.size} bytes, pixels end at {end})")
