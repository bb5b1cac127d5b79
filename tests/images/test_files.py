"""Every kind of image that plates come in, and every kind of damage."""

import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellmae.images import ImageFormat, UnreadableImageError
from cellmae.images.files import ImageFile
from cellmae.images.image import MAX_DECODED_BYTES

PIXELS = np.random.default_rng(0).integers(0, 4000, (40, 60), dtype=np.uint16)


def read_format(path: Path) -> ImageFormat:
    return ImageFile(path).format()


def read_planes(path: Path, *, expected: ImageFormat | None = None) -> np.ndarray:
    return ImageFile(path).planes(expected)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_is_decoded(tmp_path: Path, dtype: str) -> None:
    pixels = PIXELS.astype(dtype)
    path = write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(read_planes(path), pixels[np.newaxis])
    assert read_format(path) == ImageFormat(1, 40, 60, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int16", "uint32"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "lzw", "predictor": True}, {"byteorder": ">"}, {"tile": (16, 16)}]
)
def test_tiff_is_decoded_in_native_byte_order(tmp_path: Path, dtype: str, options: dict) -> None:
    pixels = PIXELS.astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **options)
    planes = read_planes(path)
    assert np.array_equal(planes, pixels[np.newaxis])
    assert planes.dtype == np.dtype(dtype) == read_format(path).dtype
    assert planes.dtype.isnative


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True, "metadata": {"axes": "CYX"}}, {"bigtiff": True}],
)
def test_channels_of_one_tiff_come_first(tmp_path: Path, options: dict) -> None:
    pixels = np.stack([PIXELS, PIXELS + 1, PIXELS + 2, PIXELS + 3, PIXELS + 4])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    assert np.array_equal(read_planes(path), pixels)
    assert read_format(path) == ImageFormat(5, 40, 60, np.dtype(np.uint16))


def test_interleaved_channels_come_first(tmp_path: Path) -> None:
    pixels = np.stack([PIXELS, PIXELS + 1, PIXELS + 2, PIXELS + 3, PIXELS + 4])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(pixels, 0, -1), photometric="minisblack", planarconfig="contig")
    assert np.array_equal(read_planes(path), pixels)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.tif", PIXELS)
    assert np.array_equal(read_planes(path)[0], PIXELS)


@pytest.mark.parametrize("kind", ["png", "zlib", "raw", "strips", "tiles"])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.5, 0.9, 0.99])
def test_truncation_is_noticed_wherever_it_falls(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "a"
    if kind == "png":
        write_png(path, PIXELS)
    else:
        options = {"zlib": {"compression": "zlib"}, "strips": {"rowsperstrip": 4}, "tiles": {"tile": (16, 16)}}
        tifffile.imwrite(path, PIXELS, **options.get(kind, {}))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableImageError):
        read_planes(path)


def test_a_tiff_cut_between_two_tiles_is_not_filled_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, tile=(16, 16))
    with tifffile.TiffFile(path) as tiff:
        border = tiff.pages[0].dataoffsets[-1]
    path.write_bytes(path.read_bytes()[:border])
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_planes(path)


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}])
def test_a_last_channel_that_is_cut_off_is_noticed(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([PIXELS, PIXELS]), photometric="minisblack", **options)
    whole = read_format(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnreadableImageError, match=r"truncated|40 x 60 uint16, expected 2 planes of 40 x 60 uint16"):
        read_planes(path, expected=whole)


def test_a_flipped_byte_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", PIXELS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        read_planes(path)


def test_damaged_pngs_lose_no_reference(tmp_path: Path) -> None:
    """Some 20,000 of them ended Python; found by the fuzzer."""
    path = write_png(tmp_path / "a.png", PIXELS)
    path.write_bytes(path.read_bytes()[:500])
    before = sys.getrefcount(None)
    for _ in range(1000):
        with pytest.raises(UnreadableImageError):
            read_planes(path)
    assert sys.getrefcount(None) > before - 500


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "file is empty"),
        (b"<html>404</html>", "neither PNG, TIFF nor JPEG 2000"),
        (b"\x89PNG\r\n\x1a\n", "header is cut off"),
    ],
)
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (read_format, read_planes):
        with pytest.raises(UnreadableImageError, match=reason) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert str(path) not in caught.value.reason


def test_missing_file_and_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="file is missing"):
        read_planes(tmp_path / "absent.png")
    with pytest.raises(UnreadableImageError, match="directory"):
        read_planes(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    picture = np.stack([PIXELS.astype(np.uint8)] * 3, axis=-1)
    if suffix == ".png":
        write_png(path, picture)
    else:
        tifffile.imwrite(path, picture, photometric="rgb")
    with pytest.raises(UnreadableImageError, match=r"RGB.*expected"):
        read_format(path)


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    pixels = PIXELS.astype(np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(UnreadableImageError, match="not finite"):
        read_planes(tmp_path / "a.tif")


def test_a_stack_of_stacks_is_refused(tmp_path: Path) -> None:
    stack = np.zeros((2, 3, 8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    with pytest.raises(UnreadableImageError, match="a stack of shape"):
        read_format(tmp_path / "a.tif")


def test_a_bomb_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    side = 200_000
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(bomb + bytes(100))
    with pytest.raises(UnreadableImageError, match=f"more than {MAX_DECODED_BYTES} bytes"):
        read_planes(tmp_path / "a.png")


def test_a_png_too_short_for_its_pixels_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    """Found by the fuzzer: a header that asks for a gibibyte of a kilobyte."""
    path = tmp_path / "a.png"
    write_png(path, PIXELS)
    data = bytearray(path.read_bytes())
    data[16] = 1  # the first byte of the width
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=rf"the header asks for .* of {len(data)} bytes"):
        read_planes(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_another_format_than_expected_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_png(path, PIXELS) if suffix == ".png" else tifffile.imwrite(path, PIXELS)
    with pytest.raises(UnreadableImageError, match="40 x 60 uint16, expected 40 x 60 uint8"):
        read_planes(path, expected=ImageFormat(1, 40, 60, np.dtype(np.uint8)))
