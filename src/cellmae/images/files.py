"""Image files: PNG, TIFF and JPEG 2000, told apart by their first bytes, on disk or in object storage."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, cast

import numpy as np

from cellmae.images import jpeg2000, png, tiff
from cellmae.images.image import (
    MAX_FILE_BYTES,
    ImageFormat,
    RefusedError,
    as_unreadable,
    require_finite,
)

KINDS: tuple[ModuleType, ...] = (png, tiff, jpeg2000)
SIGNATURE_BYTES = 12


@dataclass(frozen=True)
class ImageFile:
    """A file that holds one image.

    Attributes
    ----------
    path
        Where it lies.
    z
        The plane of a z stack within the file, from 0; None for the maximum over z.
    """

    path: Path
    z: int | None = None

    def format(self) -> ImageFormat:
        """Read the header, see :class:`cellmae.images.Image`."""
        try:
            with self.path.open("rb") as opened:
                file = cast("BinaryIO", opened)
                kind = kind_of(file.read(SIGNATURE_BYTES))
                file.seek(0)
                return kind.read_format(file)
        except Exception as error:
            raise as_unreadable(self.path, error) from error

    def planes(self, expected: ImageFormat | None = None) -> np.ndarray:
        """Decode all planes, see :class:`cellmae.images.Image`."""
        try:
            if (size := self.path.stat().st_size) > MAX_FILE_BYTES:
                raise RefusedError(f"a file of {size} bytes, more than {MAX_FILE_BYTES}")
            pixels = decode(self.path.read_bytes(), expected, z=self.z)
        except Exception as error:
            raise as_unreadable(self.path, error) from error
        return pixels


def decode(data: bytes, expected: ImageFormat | None = None, *, z: int | None = None) -> np.ndarray:
    """Decode the bytes of an image file of any known kind to (planes, height, width)."""
    kind = kind_of(data[:SIGNATURE_BYTES])
    pixels = kind.decode(data, expected, z=z) if kind is tiff else kind.decode(data, expected)
    require_finite(pixels)
    return pixels


def kind_of(start: bytes) -> ModuleType:
    """Return the module that reads files that begin so; :class:`RefusedError` where there is none."""
    if not start:
        raise RefusedError("file is empty")
    for kind in KINDS:
        if start.startswith(kind.SIGNATURES):
            return kind
    raise RefusedError("neither PNG, TIFF nor JPEG 2000")
