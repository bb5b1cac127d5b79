"""Measures of tiles against a slow computation, and the verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from cellmae.errors import ConfigError
from cellmae.tiles.quality import LOW_CONTRAST, OUT_OF_FOCUS, SATURATED, Grid, judge, measure

RNG = np.random.default_rng(0)


def test_measures_equal_the_slow_ones() -> None:
    field = (RNG.integers(0, 290, (3, 70, 100)).clip(0, 255)).astype(np.uint8)
    grid = Grid.over(70, 100, 16)
    quality = measure(field, grid, foreground=130.5)
    covered = field[:, 3:67, 2:98].astype(np.float64)
    laplacian = np.stack([ndimage.laplace(plane, mode="nearest") for plane in covered])
    for tile, (y, x) in enumerate(np.ndindex(4, 6)):
        window = np.s_[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
        pixels = covered[window]
        assert quality.mean[:, tile] == pytest.approx(pixels.mean(axis=(1, 2)))
        assert quality.sd[:, tile] == pytest.approx(pixels.std(axis=(1, 2)))
        assert quality.focus[:, tile] == pytest.approx(laplacian[window].var(axis=(1, 2)))
        assert quality.saturated[tile] == pytest.approx((pixels == 255).mean(axis=(1, 2)).max())
        assert quality.foreground[tile] == pytest.approx((pixels.mean(axis=0) > 130.5).mean())
    assert quality.mean.shape == (3, 24)


def test_extreme_pixels_do_not_overflow() -> None:
    checkerboard = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)[np.newaxis]
    quality = measure(checkerboard, Grid.over(256, 256, 256), foreground=0.5)
    assert quality.sd[0, 0] == pytest.approx(127.5)
    # Pixels inside the border have four opposite neighbours: the Laplacian is 4 * 255 up or down.
    assert quality.focus[0, 0] == pytest.approx((4 * 255) ** 2, rel=0.02)


def test_blur_lowers_the_focus() -> None:
    sharp = RNG.integers(0, 256, (1, 64, 64)).astype(np.uint8)
    blurred = ndimage.gaussian_filter(sharp, (0, 2, 2))
    grid = Grid.over(64, 64, 32)
    assert (measure(blurred, grid, foreground=0).focus < 0.01 * measure(sharp, grid, foreground=0).focus).all()


def test_grid_is_centred_and_inside() -> None:
    grid = Grid.over(70, 100, 16)
    assert grid.tops.tolist() == [3, 19, 35, 51]
    assert grid.lefts.tolist() == [2, 18, 34, 50, 66, 82]


def test_tile_larger_than_the_field_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"^tiles\.size: 71 is larger than the fields of 70 x 100"):
        Grid.over(70, 100, 71)


def test_verdicts() -> None:
    good = {"sd_a": 20.0, "sd_b": 20.0, "focus_a": 90.0, "focus_b": 90.0, "saturated": 0.0}
    tiles = pd.DataFrame(
        [
            good,
            good | {"sd_b": 0.5},
            good | {"focus_a": 3.0},
            good | {"focus_a": 3.0, "focus_b": 3.0},
            good | {"saturated": 0.3},
        ]
    )
    reasons = judge(tiles, channels=["a", "b"], min_contrast=1.0, min_focus=5.0, max_saturated=0.2)
    assert reasons.tolist() == ["", LOW_CONTRAST, "", OUT_OF_FOCUS, SATURATED]
    assert judge(tiles, channels=["a"], min_contrast=1.0, min_focus=0.0, max_saturated=1.0).tolist() == [""] * 5
