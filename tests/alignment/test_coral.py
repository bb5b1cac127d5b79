"""CORAL in factored form against matrices of dimensions x dimensions."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from cellmae.alignment.coral import NoCoral, RidgeCoral, ShrunkCoral, fit_ridge_coral, fit_shrunk_coral

DIMENSIONS = 24
COUNTS = (0, 1, 2, 12, 25, 200)


@pytest.fixture
def controls():
    generator = np.random.default_rng(0)
    stretch = generator.uniform(0.3, 3, (len(COUNTS), DIMENSIONS))
    return [generator.normal(size=(count, DIMENSIONS)) * own + 1 for count, own in zip(COUNTS, stretch, strict=True)]


def covariance(X):
    return np.cov(X, rowvar=False, ddof=1) if len(X) > 1 else np.zeros((DIMENSIONS, DIMENSIONS))


def matrices(maps):
    return [maps.apply(batch, np.eye(DIMENSIONS)) for batch in range(len(maps.rank))]


def test_ridge_is_the_published_matrix(controls):
    pooled = 1.3
    for own, matrix in zip(controls, matrices(RidgeCoral(pooled).maps(controls)), strict=True):
        base = covariance(own) if len(own) > 1 else pooled * np.eye(DIMENSIONS)
        expected = fractional_matrix_power(base + 0.5 * np.eye(DIMENSIONS), -0.5)
        np.testing.assert_allclose(matrix, expected, atol=1e-10)


def test_ridge_of_whitened_controls_pools_a_multiple_of_the_identity(controls):
    X = np.concatenate(controls)
    values, vectors = np.linalg.eigh(np.cov(X, rowvar=False, ddof=0))
    white = [own @ (vectors / np.sqrt(values)) for own in controls]
    pooled = np.cov(np.concatenate(white), rowvar=False, ddof=1)
    np.testing.assert_allclose(fit_ridge_coral(white).pooled * np.eye(DIMENSIONS), pooled, atol=1e-10)


@pytest.mark.parametrize(("spread", "sampling"), [(0.4, 20.0), (3.0, 0.5), (0.0, 20.0), (0.0, 0.0)])
def test_shrunk_is_the_root_of_the_blend(controls, spread, sampling):
    coral = ShrunkCoral(spread, sampling)
    weights = coral.weights(np.maximum(np.array(COUNTS) - 1, 0))
    for own, weight, matrix in zip(controls, weights, matrices(coral.maps(controls)), strict=True):
        blend = (1 - weight) * np.eye(DIMENSIONS) + weight * covariance(own)
        np.testing.assert_allclose(matrix, fractional_matrix_power(blend, -0.5), atol=1e-10)


def test_spread_is_the_mean_squared_deviation_beyond_sampling(controls):
    coral = fit_shrunk_coral(controls)
    freedom = np.maximum(np.array(COUNTS) - 1, 0)
    covariances = np.stack([covariance(own) for own in controls])
    pooled = np.tensordot(freedom, covariances, 1) / freedom.sum()
    sampling = ((pooled**2).sum() + np.trace(pooled) ** 2) / DIMENSIONS
    observed = ((covariances - pooled) ** 2).sum(axis=(1, 2)) / DIMENSIONS
    assert coral.sampling == pytest.approx(sampling, rel=1e-12)
    assert coral.spread == pytest.approx((freedom @ observed - 4 * sampling) / freedom.sum(), rel=1e-10)


def test_few_controls_take_few_directions(controls):
    maps = RidgeCoral(1.0).maps(controls)
    assert maps.rank.tolist() == [0, 0, 1, 11, 24, 24]
    assert len(maps.basis) == len(maps.gain) == maps.rank.sum()


def test_controls_that_do_not_vary_only_scale():
    still = [np.full((9, DIMENSIONS), 0.1), np.zeros((0, DIMENSIONS))]
    np.testing.assert_allclose(matrices(RidgeCoral(0.0).maps(still))[0], np.eye(DIMENSIONS) / np.sqrt(0.5), atol=1e-10)
    assert fit_shrunk_coral(still).weights(np.array([8, 0])).tolist() == [0, 0]


def test_no_coral_changes_nothing(controls):
    for matrix in matrices(NoCoral().maps(controls)):
        np.testing.assert_array_equal(matrix, np.eye(DIMENSIONS))


def test_joined_maps_are_those_of_both(controls):
    coral = RidgeCoral(1.0)
    joined = coral.maps(controls[:4]).joined(coral.maps(controls[4:]))
    for found, expected in zip(matrices(joined), matrices(coral.maps(controls)), strict=True):
        np.testing.assert_array_equal(found, expected)
