"""PNG, by imagecodecs, which takes two thirds of Pillow's time for 16 bits."""

import struct
from typing import BinaryIO

import imagecodecs
import numpy as np

from cellmae.images.image import ImageFormat, RefusedError, require

SIGNATURES = (b"\x89PNG\r\n\x1a\n",)

HEADER = struct.Struct(">8s4x4sIIBB")  # signature, length, "IHDR", width, height, bit depth, colour type
MOST_GROWTH = 1032
"""Deflate makes no byte more than so many (zlib, "Maximum Compression Factor")."""

COLOURS = {2: "an RGB picture", 3: "a picture with a palette", 4: "grey with alpha", 6: "an RGBA picture"}


def read_format(file: BinaryIO) -> ImageFormat:
    """Read the header of an open file."""
    return _format(file.read(HEADER.size))


def decode(data: bytes, expected: ImageFormat | None) -> np.ndarray:
    """Decode the bytes of a file to (1, height, width)."""
    form = _format(data[: HEADER.size])
    require(form, expected)
    if form.nbytes > MOST_GROWTH * len(data):
        raise RefusedError(f"truncated or damaged (the header asks for {form} of {len(data)} bytes)")
    # Into memory of our own: without, imagecodecs loses a reference to None at each damaged file, and Python ends.
    pixels = np.empty(form.shape, form.dtype)
    imagecodecs.png_decode(data, out=pixels[0])
    return pixels


def _format(header: bytes) -> ImageFormat:
    if len(header) < HEADER.size:
        raise RefusedError("truncated or damaged (the header is cut off)")
    _, kind, width, height, depth, colour = HEADER.unpack(header)
    if kind != b"IHDR":
        raise RefusedError("truncated or damaged (the header is garbled)")
    if colour != 0:
        raise RefusedError(f"{COLOURS.get(colour, f'of unknown colour type {colour}')}, expected one grey plane")
    if depth not in (8, 16):
        raise RefusedError(f"{depth}-bit pixels, expected 8 or 16 bits")
    return ImageFormat(1, height, width, np.dtype(f"uint{depth}"))
