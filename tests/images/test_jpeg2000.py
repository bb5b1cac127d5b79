"""JPEG 2000 as file and as bare codestream, as RxRx3-core keeps its images."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from cellmae.images import ImageFormat, UnreadableImageError
from cellmae.images.files import ImageFile
from cellmae.images.image import MAX_DECODED_BYTES
from cellmae.images.jpeg2000 import CODESTREAM

PIXELS = np.random.default_rng(0).integers(0, 4000, (40, 60), dtype=np.uint16)


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, **options))
    return path


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pixels_and_header(tmp_path: Path, codec: str, dtype: str) -> None:
    pixels = PIXELS.astype(dtype)
    image = ImageFile(write(tmp_path / "a.jp2", pixels, codecformat=codec))
    np.testing.assert_array_equal(image.planes(), pixels[np.newaxis])
    assert image.planes().dtype == np.dtype(dtype)
    assert image.format() == ImageFormat(1, 40, 60, np.dtype(dtype))


@pytest.mark.parametrize(("bits", "dtype"), [(8, "uint8"), (10, "uint16"), (12, "uint16")])
def test_bits_between_eight_and_sixteen(tmp_path: Path, bits: int, dtype: str) -> None:
    pixels = (PIXELS % 2**bits).astype(dtype)
    image = ImageFile(write(tmp_path / "a.jp2", pixels, bitspersample=bits))
    np.testing.assert_array_equal(image.planes(), pixels[np.newaxis])
    assert image.format().dtype == image.planes().dtype == np.dtype(dtype)


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("share", [0.005, 0.1, 0.5, 0.9, 0.999])
def test_truncation_is_noticed_wherever_it_falls(tmp_path: Path, codec: str, share: float) -> None:
    path = write(tmp_path / "a.jp2", PIXELS, codecformat=codec)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableImageError):
        ImageFile(path).planes()


def test_colour_pictures_are_refused(tmp_path: Path) -> None:
    image = ImageFile(write(tmp_path / "a.jp2", np.stack([PIXELS.astype(np.uint8)] * 3, axis=-1)))
    for read in (image.format, image.planes):
        with pytest.raises(UnreadableImageError, match="a picture of 3 components, expected one grey plane"):
            read()


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_pixels_with_a_sign_are_refused(tmp_path: Path, dtype: str) -> None:
    image = ImageFile(write(tmp_path / "a.jp2", (PIXELS % 100).astype(dtype)))
    with pytest.raises(UnreadableImageError, match="with a sign, expected 8 to 16 bits"):
        image.format()


def test_fewer_than_eight_bits_are_refused(tmp_path: Path) -> None:
    image = ImageFile(write(tmp_path / "a.jp2", (PIXELS % 16).astype(np.uint8), bitspersample=4))
    with pytest.raises(UnreadableImageError, match="pixels of 4 bits, expected 8 to 16 bits"):
        image.format()


@pytest.mark.parametrize("field", [(8, "wide"), (16, "offset")])
def test_a_header_that_asks_for_too_much_is_refused_before_decoding(tmp_path: Path, field: tuple[int, str]) -> None:
    path = write(tmp_path / "a.jp2", PIXELS)
    data = bytearray(path.read_bytes())
    start = data.index(CODESTREAM)
    place, kind = field
    data[start + place : start + place + 8] = b"\x00\x0f\xff\xff" * 2
    path.write_bytes(data)
    reason = f"more than {MAX_DECODED_BYTES} bytes" if kind == "wide" else "the header is garbled"
    with pytest.raises(UnreadableImageError, match=reason):
        ImageFile(path).planes()


def test_another_format_than_expected_is_named(tmp_path: Path) -> None:
    image = ImageFile(write(tmp_path / "a.jp2", PIXELS))
    with pytest.raises(UnreadableImageError, match="40 x 60 uint16, expected 40 x 60 uint8"):
        image.planes(ImageFormat(1, 40, 60, np.dtype(np.uint8)))
