"""Stacks whose planes are files."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellmae.images import ImageFormat, UnreadableImageError, open_image

PLANES = np.random.default_rng(0).integers(0, 4000, (3, 20, 30), dtype=np.uint16)
NAMES = ["a0.tif", "a1.tif", "a2.tif"]


@pytest.fixture(params=["tiff", "png"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    for name, pixels in zip(NAMES, PLANES, strict=True):
        if request.param == "png":
            (tmp_path / name).write_bytes(imagecodecs.png_encode(pixels))
        else:
            tifffile.imwrite(tmp_path / name, pixels)
    return tmp_path


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_maximum_over_files(folder: Path, number: int) -> None:
    image = open_image(folder, NAMES[:number])
    np.testing.assert_array_equal(image.planes(), PLANES[:number].max(axis=0, keepdims=True))
    assert image.format() == ImageFormat(1, 20, 30, np.dtype(np.uint16))
    np.testing.assert_array_equal(image.planes(image.format()), PLANES[:number].max(axis=0, keepdims=True))


def test_files_of_several_channels(tmp_path: Path) -> None:
    stacks = np.stack([PLANES, PLANES[::-1] + 1])
    for name, pixels in zip(NAMES, stacks, strict=False):
        tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")
    np.testing.assert_array_equal(open_image(tmp_path, NAMES[:2]).planes(), stacks.max(axis=0))


def test_files_of_another_format_are_named(folder: Path) -> None:
    tifffile.imwrite(folder / NAMES[2], PLANES[0, :10])
    with pytest.raises(UnreadableImageError, match=r"a2.tif: 10 x 30 uint16, expected 20 x 30 uint16"):
        open_image(folder, NAMES).planes()
    with pytest.raises(UnreadableImageError, match=r"a0.tif: 20 x 30 uint16, expected 20 x 30 uint8"):
        open_image(folder, NAMES).planes(ImageFormat(1, 20, 30, np.dtype(np.uint8)))


def test_files_that_are_gone_are_named(folder: Path) -> None:
    (folder / NAMES[1]).unlink()
    with pytest.raises(UnreadableImageError, match=r"a1.tif: file is missing"):
        open_image(folder, NAMES).planes()
