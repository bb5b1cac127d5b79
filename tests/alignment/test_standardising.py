"""PCA-CS: batches standardised by their own controls, and what few controls borrow."""

import numpy as np

from cellmae.alignment.standardising import FEWEST_CONTROLS, fit_control_standardiser


def controls(counts, *, dimensions=6, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(count, dimensions)) * (1 + batch) + 10 * batch for batch, count in enumerate(counts)]


def test_controls_of_each_batch_get_mean_zero_and_deviation_one():
    own = controls([30, 40, FEWEST_CONTROLS])
    maps = fit_control_standardiser(own).maps(own)
    for batch, X in enumerate(own):
        found = maps.apply(batch, X)
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-12)


def test_few_controls_borrow_the_deviation_and_none_the_mean_too():
    own = controls([30, 40, FEWEST_CONTROLS - 1, 1, 0])
    maps = fit_control_standardiser(own).maps(own)
    pooled = np.sqrt(sum(((X - X.mean(axis=0)) ** 2).sum(axis=0) for X in own[:4]) / (29 + 39 + 3))
    np.testing.assert_allclose(maps.scale[2:], np.tile(1 / pooled, (3, 1)))
    np.testing.assert_allclose(maps.shift[2], own[2].mean(axis=0))
    np.testing.assert_array_equal(maps.shift[3], own[3][0])
    np.testing.assert_allclose(maps.shift[4], np.concatenate(own).mean(axis=0))


def test_controls_that_do_not_vary_divide_by_nothing():
    own = controls([30, 40])
    own[1][:, 2] = 0.1
    for X in own:
        X[:, 4] = 3.3
    standardiser = fit_control_standardiser(own)
    maps = standardiser.maps(own)
    assert maps.scale[1, 2] == 1 / standardiser.deviation[2]
    assert maps.scale[:, 4].tolist() == [0, 0]
    assert np.abs(maps.apply(1, own[1] + 1)).max() < 10


def test_one_control_a_batch_borrows_from_all():
    own = controls([1, 1, 1])
    maps = fit_control_standardiser(own).maps(own)
    np.testing.assert_allclose(maps.scale, np.tile(1 / np.concatenate(own).std(axis=0), (3, 1)))
