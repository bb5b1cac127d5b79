import numpy as np
import torch
from scipy.stats import skew

from cellmae.models.intensity import QUANTILES, ConstantEncoder, IntensityEncoder


def test_moments_and_quantiles_are_those_of_numpy_and_scipy():
    crops = np.random.default_rng(0).gamma(2, 20, (4, 2, 16, 16)).clip(0, 255).astype(np.uint8)
    encoder = IntensityEncoder(2)
    vectors = encoder.embed(torch.from_numpy(crops)).numpy()
    pixels = crops.reshape(4, 2, -1).astype(float)
    quantiles = np.quantile(pixels, QUANTILES, axis=2)
    expected = np.concatenate([pixels.mean(2), pixels.std(2), skew(pixels, axis=2), *quantiles], axis=1)
    assert vectors.shape == (4, encoder.dim)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4)


def test_a_flat_channel_has_no_skewness():
    vectors = IntensityEncoder(1).embed(torch.full((1, 1, 8, 8), 7, dtype=torch.uint8))
    assert torch.equal(vectors, torch.tensor([[7.0, 0, 0] + [7.0] * len(QUANTILES)]))


def test_constant_tells_nothing():
    vectors = ConstantEncoder().embed(torch.arange(128).view(2, 1, 8, 8))
    assert torch.equal(vectors[0], vectors[1])
    assert vectors.shape == (2, ConstantEncoder.dim)
