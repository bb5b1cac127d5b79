"""Illumination that is divided out, and pixels that are joined."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellmae.errors import ConfigError, DataError
from cellmae.tiles import open_store, preparation

from .conftest import CHANNELS, PlateMaker, SyntheticPlate, write_image

SHADE = np.linspace(0.5, 1.5, 56)  # from the left to the right of a field


def shade(plate: SyntheticPlate) -> None:
    """Darken the left and brighten the right of every image."""
    for place, field in enumerate(plate.pixels):
        for channel, pixels in zip(CHANNELS, field, strict=True):
            write_image(plate.image(place, channel), np.rint(pixels * SHADE).astype(np.uint16))


def write_functions(folder: Path, function: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for channel in CHANNELS:
        np.save(folder / f"Plate1_Illum{channel}.npy", function)


def function() -> np.ndarray:
    return np.broadcast_to(SHADE, (48, 56))


def test_given_functions_undo_the_shade(plate: SyntheticPlate, make_plate: PlateMaker) -> None:
    plate.tile()
    shaded = make_plate(name="shaded")
    shade(shaded)
    write_functions(shaded.root / "images" / "illum" / "Plate1", function())
    shaded.tile(illumination="illum/{plate}/*_Illum{channel}.npy")
    difference = np.abs(open_store(shaded.store).images.values.astype(int) - open_store(plate.store).images.values)
    assert difference.max() <= 1
    assert open_store(shaded.store).attributes["illumination"] == "illum/{plate}/*_Illum{channel}.npy"


def test_functions_may_be_images(plate: SyntheticPlate) -> None:
    for channel in CHANNELS:
        tifffile.imwrite(plate.root / f"images/illum_{channel}.tif", function().astype(np.float32))
    plate.tile(illumination="illum_{channel}.tif")
    assert open_store(plate.store).images.shape == (6, 2, 48, 56)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (lambda folder: (folder / "Plate1_Illumer.npy").unlink(), ConfigError, "0 files below .* match .*Illumer"),
        (lambda folder: np.save(folder / "xPlate1_Illumer.npy", function()), ConfigError, "2 files below"),
        (lambda folder: np.save(folder / "Plate1_Illumer.npy", np.ones((4, 4))), ConfigError, r"the shape \(4, 4\)"),
        (lambda folder: np.save(folder / "Plate1_Illumer.npy", -function()), DataError, "not positive numbers"),
        (lambda folder: (folder / "Plate1_Illumer.npy").write_bytes(b"no"), DataError, "is no NumPy array"),
    ],
)
def test_functions_that_cannot_be_used_are_named(plate, change, error, reason) -> None:
    folder = plate.root / "images" / "illum"
    write_functions(folder, function())
    change(folder)
    with pytest.raises(error, match=reason):
        plate.tile(illumination="illum/*{plate}_Illum{channel}.npy")
    assert not plate.manifest.exists()


def test_an_estimated_function_evens_out_the_plate(make_plate: PlateMaker, monkeypatch, caplog) -> None:
    monkeypatch.setattr(preparation, "MEDIAN_SIZE", 9)  # of 56 pixels
    plate = make_plate(fields=40)
    shade(plate)
    plate.tile()
    uneven = open_store(plate.store).images.values.mean(axis=(0, 1, 2))
    with caplog.at_level(logging.WARNING):
        plate.tile(illumination="estimate")
    even = open_store(plate.store).images.values.mean(axis=(0, 1, 2))
    assert uneven[-8:].mean() > 2 * uneven[:8].mean()
    assert even[-8:].mean() == pytest.approx(even[:8].mean(), rel=0.1)
    assert "estimated from 40 fields only" in caplog.text


def test_an_estimate_does_not_depend_on_threads(make_plate: PlateMaker) -> None:
    plate = make_plate(fields=12)
    shade(plate)
    seen = set()
    for threads in (1, 3):
        plate.tile(illumination="estimate", threads=threads)
        seen.add(plate.manifest.read_bytes())
    assert len(seen) == 1


def test_pixels_are_averaged(plate: SyntheticPlate) -> None:
    plate.tile(binning=2, ranges={name: [0, 4000] for name in CHANNELS}, size=8)
    store = open_store(plate.store)
    assert store.images.shape == (6, 2, 24, 28)
    means = plate.pixels.reshape(6, 2, 24, 2, 28, 2).astype(float).mean(axis=(3, 5))
    assert np.abs(store.images.values - means * 255 / 4000).max() < 0.51


def test_pixels_are_averaged_in_parts(plate: SyntheticPlate) -> None:
    plate.tile(binning=1.6, size=8)
    images = open_store(plate.store).images
    assert images.shape == (6, 2, 30, 35)
    assert images.values.std() < plate.pixels.std() / 4000 * 255


def test_a_flat_plane_is_noticed_before_it_is_corrected(plate: SyntheticPlate) -> None:
    write_functions(plate.root / "images", function())
    write_image(plate.image(2), np.full((48, 56), 300, np.uint16))
    plate.tile(illumination="{plate}_Illum{channel}.npy")
    assert open_store(plate.store).images.shape[0] == 5
