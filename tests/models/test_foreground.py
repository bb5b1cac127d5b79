import numpy as np
import pytest
import torch

from cellmae.models.foreground import SPECK_PIXELS, ForegroundEncoder, count_objects, otsu_thresholds


def slow_otsu(pixels: np.ndarray) -> int:
    """Otsu's threshold from its definition: the split of the pixels with the largest variance between its parts."""
    best, threshold = 0.0, 255
    for level in range(256):
        low, high = pixels[pixels <= level].astype(float), pixels[pixels > level].astype(float)
        if len(low) and len(high):
            variance = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if variance > best * (1 + 1e-12):
                best, threshold = variance, level
    return threshold


def test_thresholds_are_those_of_the_definition():
    generator = np.random.default_rng(0)
    crops = np.concatenate(
        [
            generator.integers(0, 256, (2, 3, 16, 16)),
            generator.gamma(2, 20, (2, 3, 16, 16)).clip(0, 255),
            np.where(generator.random((2, 3, 16, 16)) < 0.2, 200, 30) + generator.integers(0, 20, (2, 3, 16, 16)),
            generator.integers(0, 2, (2, 3, 16, 16)) * 255,
        ]
    ).astype(np.uint8)
    thresholds = otsu_thresholds(torch.from_numpy(crops).long())
    expected = [[slow_otsu(plane) for plane in crop] for crop in crops]
    assert thresholds.tolist() == expected


def test_share_and_number_of_bright_objects():
    crops = torch.full((2, 2, 32, 32), 10, dtype=torch.uint8)
    crops[0, 0, 2:8, 2:8] = 200
    crops[0, 0, 20:26, 4:10] = 200
    crops[0, 1, :, 16:] = 90
    vectors = ForegroundEncoder(2).embed(crops)
    assert vectors.dtype == torch.float32
    expected = torch.tensor([[72 / 1024, 0.5, 2, 1], [0, 0, 0, 0]])
    torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_channel_has_neither_share_nor_objects(value):
    vectors = ForegroundEncoder(1).embed(torch.full((1, 1, 8, 8), value, dtype=torch.uint8))
    assert torch.equal(vectors, torch.zeros(1, 2))


def test_specks_are_not_counted_and_corners_do_not_connect():
    plane = np.zeros((16, 16), bool)
    plane[0, :SPECK_PIXELS] = True
    plane[4, : SPECK_PIXELS - 1] = True
    plane[8:12, 0:4] = plane[12:16, 4:8] = True
    assert count_objects(plane) == 3


def test_objects_of_one_crop_are_not_joined_to_those_of_the_next():
    crops = torch.zeros(2, 2, 16, 16, dtype=torch.uint8)
    crops[:, :, 4:10, 4:10] = 100
    assert torch.equal(ForegroundEncoder(2).embed(crops)[:, 2:], torch.ones(2, 2))


def test_pixels_may_be_floats():
    crops = torch.randint(0, 256, (2, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    encoder = ForegroundEncoder(2)
    assert torch.equal(encoder.embed(crops), encoder.embed(crops.float()))
