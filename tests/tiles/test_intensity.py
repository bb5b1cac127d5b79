"""Ranges and thresholds against plain computations."""

import numpy as np
import pytest

from cellmae.tiles.intensity import SAMPLED_PIXELS, Scaling, otsu_threshold, sample_field
from cellmae.tiles.preparation import Preparation

RNG = np.random.default_rng(0)


def fit(*fields: np.ndarray, percentiles: tuple[float, float] = (1.0, 99.0)) -> Scaling:
    return Scaling.fit([sample_field(field, Preparation(field.shape[1:])) for field in fields], percentiles=percentiles)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_scaling_equals_the_plain_formula(dtype: str) -> None:
    fields = RNG.integers(0, 250, (3, 2, 40, 50)).astype(dtype)
    scaling = fit(*fields)
    for channel in range(2):
        pixels = fields[:, channel].astype(np.float64)
        low, high = np.percentile(pixels, [1.0, 99.0])
        plain = np.clip((pixels - low) / (high - low), 0, 1) * 255
        scaled = np.stack([scaling.apply(field)[channel] for field in fields])
        assert (scaling.low[channel], scaling.high[channel]) == pytest.approx((low, high))
        assert np.abs(scaled - plain).max() < 0.501


def test_large_planes_are_thinned_over_all_rows_and_columns() -> None:
    side = 1024
    rows, columns = np.mgrid[:side, :side].astype(np.uint16)
    pixels = sample_field([rows, columns], Preparation(rows.shape)).pixels
    assert SAMPLED_PIXELS / 2 < pixels.shape[1] <= SAMPLED_PIXELS
    assert len(np.unique(pixels[0])) == len(np.unique(pixels[1])) == side


def test_a_constant_channel_becomes_zero_and_harms_no_other() -> None:
    fields = RNG.integers(0, 1000, (2, 2, 20, 20), dtype=np.uint16)
    fields[:, 1] = 77
    scaling = fit(*fields)
    assert scaling.constant.tolist() == [False, True]
    scaled = scaling.apply(fields[0])
    assert scaled[0].max() == 255
    assert not scaled[1].any()


def test_a_sparse_channel_keeps_its_few_pixels() -> None:
    field = np.zeros((1, 100, 100), np.uint16)
    field[0, 50, 50] = 900  # fewer pixels than the upper percentile leaves out
    scaling = fit(field)
    assert not scaling.constant[0]
    assert scaling.apply(field)[0, 50, 50] == 255


def test_otsu_maximises_the_variance_between_the_classes() -> None:
    values = np.concatenate([RNG.normal(60, 12, 3000), RNG.normal(160, 25, 1000)]).clip(0, 255).round()

    def between(threshold: float) -> float:
        below, above = values[values <= threshold], values[values > threshold]
        return len(below) * len(above) * (below.mean() - above.mean()) ** 2

    candidates = np.arange(values.min(), values.max()) + 0.5
    assert otsu_threshold(values) == max(candidates, key=between)
