"""What the stages ask of an image, wherever its pixels lie."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cellmae.errors import DataError

MAX_DECODED_BYTES = 2**31
"""A header that asks for more is taken for damage: nothing is allocated on its word."""

MAX_FILE_BYTES = 2 * MAX_DECODED_BYTES
"""What a file may have, and the z planes in it once they are decoded."""

MAX_REASON_LENGTH = 160


class UnreadableImageError(DataError):
    """An image that cannot be used; ``reason`` says why, without its name."""

    def __init__(self, name: object, reason: str) -> None:
        """Name the image and the reason."""
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class RefusedError(Exception):
    """Raised by a decoder for pixels that are not what cellmae takes; the message is the reason."""


@dataclass(frozen=True)
class ImageFormat:
    """What a header says of the pixels.

    Attributes
    ----------
    planes
        Channels; the planes of a z stack are projected and count once.
    height, width
        Rows and columns.
    dtype
        Pixel type in the machine's byte order.
    """

    planes: int
    height: int
    width: int
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns."""
        return self.planes, self.height, self.width

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        """Say it as messages do: ``6 planes of 512 x 512 uint16``."""
        planes = f"{self.planes} planes of " if self.planes > 1 else ""
        return f"{planes}{self.height} x {self.width} {self.dtype}"


class Image(Protocol):
    """An image: one plane, or one plane a channel."""

    def format(self) -> ImageFormat:
        """Read the header, without the pixels; :class:`UnreadableImageError` where it cannot be used."""

    def planes(self, expected: ImageFormat | None = None) -> np.ndarray:
        """Decode all planes.

        Parameters
        ----------
        expected
            The format that the header must announce; another one is refused before anything is decoded.

        Returns
        -------
        Array (planes, height, width) in the machine's byte order; it may be read-only.

        Raises
        ------
        UnreadableImageError
            The image is missing, damaged, of a kind that is not taken (a colour picture, pixels that are neither
            integers nor floats), of another format than expected, or holds a float that is not finite.
        """


def require(found: ImageFormat, expected: ImageFormat | None) -> None:
    """Raise :class:`RefusedError` where a header announces another format, or more than anybody's memory holds."""
    if expected is not None and found != expected:
        raise RefusedError(f"{found}, expected {expected}")
    if found.nbytes > MAX_DECODED_BYTES:
        raise RefusedError(f"the header asks for {found}, more than {MAX_DECODED_BYTES} bytes")


def require_finite(pixels: np.ndarray) -> None:
    """Raise :class:`RefusedError` where a float is infinite or no number."""
    # The sum of finite floats may overflow; then each is looked at.
    if pixels.dtype.kind == "f" and not np.isfinite(pixels.sum()) and not np.isfinite(pixels).all():
        raise RefusedError("holds pixels that are not finite")


def as_unreadable(name: object, error: Exception) -> Exception:
    """Turn whatever a decoder throws at damaged bytes into a reason; a shortage of memory is no damage."""
    if isinstance(error, UnreadableImageError | MemoryError):
        return error
    if isinstance(error, RefusedError):
        return UnreadableImageError(name, str(error))
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(name, "file is missing")
    if isinstance(error, OSError) and error.strerror:
        return UnreadableImageError(name, error.strerror)
    text = " ".join(str(error).split())[:MAX_REASON_LENGTH]
    return UnreadableImageError(name, f"truncated or damaged ({text or type(error).__name__})")
