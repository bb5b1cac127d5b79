"""Moments by batch that come together from chunks."""

import numpy as np
import pytest

from cellmae.alignment.chunks import ArrayChunks, BatchRows
from cellmae.alignment.moments import batch_moments, within_covariance
from cellmae.errors import DataError


def simulate(offset=0.0):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(50, 4)) + offset
    return X, BatchRows.of(generator.choice(list("abc"), 50), generator.random(50) < 0.3)


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_each_batch(size, offset):
    X, batches = simulate(offset)
    found = batch_moments(ArrayChunks(X, size), batches)
    for moments, chosen in ((found.wells, np.full(50, True)), (found.controls, batches.is_control)):
        for batch in range(3):
            own = X[chosen & (batches.codes == batch)]
            assert moments.count[batch] == len(own)
            np.testing.assert_allclose(moments.mean[batch], own.mean(axis=0), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(moments.variance[batch], own.var(axis=0, ddof=1), rtol=1e-8)
            np.testing.assert_array_equal(moments.peak[batch], np.abs(own).max(axis=0))
    np.testing.assert_allclose(found.wells.total_mean(), X.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.wells.total_variance(), X.var(axis=0, ddof=1), rtol=1e-8)


def test_moved_moments_are_those_of_moved_wells():
    X, batches = simulate()
    centre, scale = np.arange(12.0).reshape(3, 4), np.full((3, 4), 2.0)
    moved = batch_moments(ArrayChunks(X), batches).wells.moved(centre, scale)
    expected = batch_moments(ArrayChunks((X - centre[batches.codes]) / 2), batches).wells
    np.testing.assert_allclose(moved.mean, expected.mean)
    np.testing.assert_allclose(moved.variance, expected.variance)


def test_batches_without_two_controls_have_no_variance():
    X, batches = simulate()
    batches.is_control[:] = False
    batches.is_control[np.flatnonzero(batches.codes == 1)[0]] = True
    controls = batch_moments(ArrayChunks(X), batches).controls
    assert controls.count.tolist() == [0, 1, 0]
    assert controls.freedom.tolist() == [0, 0, 0]
    assert not controls.variance.any()


def test_nan_names_the_batch():
    X, batches = simulate()
    X[np.flatnonzero(batches.codes == 2)[0], 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in the batches c:"):
        batch_moments(ArrayChunks(X), batches)


def test_covariance_within_groups_is_pooled():
    X, _ = simulate()
    groups = [X[:10], X[10:11], X[11:11], X[11:30]]
    covariance, freedom = within_covariance(groups)
    assert freedom == 27
    np.testing.assert_allclose(covariance, (9 * np.cov(X[:10].T) + 18 * np.cov(X[11:30].T)) / 27)
    nothing, freedom = within_covariance([X[:1], X[:0]])
    assert freedom == 0
    assert not nothing.any()
