"""JPEG 2000, as JP2 file or bare codestream, by imagecodecs.

The header is that of ITU-T Recommendation T.800, annex A.5.1 (image and tile size).
"""

import struct
from typing import BinaryIO

import imagecodecs
import numpy as np

from cellmae.images.image import ImageFormat, RefusedError, require

CODESTREAM = b"\xff\x4f\xff\x51"  # start of codestream, image and tile size
SIGNATURES = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", CODESTREAM)
END = b"\xff\xd9"

HEADER_BYTES = 4096  # in which the codestream begins
SIZES = struct.Struct(">4x4x4I16xHB")  # after the markers: right, bottom, left, top; components; depth less one


def read_format(file: BinaryIO) -> ImageFormat:
    """Read the header of an open file."""
    return _format(file.read(HEADER_BYTES))


def decode(data: bytes, expected: ImageFormat | None) -> np.ndarray:
    """Decode the bytes of a file to (1, height, width)."""
    require(_format(data[:HEADER_BYTES]), expected)
    if END not in data[-16:]:  # the decoder fills what is cut off without a word
        raise RefusedError("truncated (the end of the codestream is missing)")
    return imagecodecs.jpeg2k_decode(data)[np.newaxis]


def _format(header: bytes) -> ImageFormat:
    start = header.find(CODESTREAM)
    if start < 0 or len(header) < start + SIZES.size:
        raise RefusedError("truncated or damaged (the header is cut off)")
    right, bottom, left, top, components, depth = SIZES.unpack_from(header, start)
    if not (left < right and top < bottom):
        raise RefusedError("truncated or damaged (the header is garbled)")
    if components != 1:
        raise RefusedError(f"a picture of {components} components, expected one grey plane")
    bits = (depth & 0x7F) + 1
    if depth & 0x80 or not 8 <= bits <= 16:
        raise RefusedError(f"pixels of {bits} bits{' with a sign' if depth & 0x80 else ''}, expected 8 to 16 bits")
    return ImageFormat(1, bottom - top, right - left, np.dtype("uint8" if bits <= 8 else "uint16"))
