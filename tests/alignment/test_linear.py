"""PCA, inverse roots and shrinkage against slower or independent computations."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA

from cellmae.alignment.linear import inverse_root, principal_axes, shrink, shrinkage_weight


def axes_of(X, components=None, **options):
    return principal_axes([X], X.mean(axis=0), wells=len(X), components=components, **options)


@pytest.mark.parametrize("shape", [(50, 12), (12, 50)])
def test_axes_are_those_of_a_full_svd(shape):
    X = np.random.default_rng(0).normal(size=shape) + 7
    axes = axes_of(X, 6)
    expected = PCA(6, svd_solver="full").fit(X)
    np.testing.assert_allclose(np.abs(axes.components @ expected.components_.T), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(axes.variance_ratio, expected.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(axes.project(X)), np.abs(expected.transform(X)), atol=1e-9)


def test_sign_does_not_depend_on_the_sign_of_the_data():
    X = np.random.default_rng(1).normal(size=(30, 5))
    np.testing.assert_allclose(axes_of(X).components, axes_of(-X).components, atol=1e-12)


def test_axes_without_variance_are_left_out():
    X = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
    doubled = np.hstack([X, X, np.full((40, 2), 0.1, np.float32)]).astype(float)
    assert len(axes_of(doubled, 8).components) == 3
    assert len(axes_of(np.ones((5, 4))).components) == 1


def test_uncentred_axes_project_zero_to_zero():
    X = np.random.default_rng(3).normal(size=(30, 5)) + 4
    assert not axes_of(X, centred=False).project(np.zeros((1, 5))).any()


def test_inverse_root_is_the_fractional_power():
    S = np.cov(np.random.default_rng(4).normal(size=(60, 8)), rowvar=False)
    np.testing.assert_allclose(inverse_root(S), fractional_matrix_power(S, -0.5), rtol=1e-10)


def test_inverse_root_gives_nothing_to_directions_without_variance():
    np.testing.assert_allclose(inverse_root(np.diag([4.0, 0.0])), np.diag([0.5, 0.0]))
    assert not inverse_root(np.zeros((3, 3))).any()


@pytest.mark.parametrize("wells", [5, 20, 80])
def test_shrinkage_beats_both_ends_on_average(wells):
    generator = np.random.default_rng(5)
    truth = np.diag(np.linspace(0.2, 2, 20))
    errors = np.zeros(3)
    for _ in range(60):
        X = generator.normal(size=(wells, 20)) @ np.sqrt(truth)
        S = X.T @ X / wells
        estimates = (shrink(S, shrinkage_weight(S, wells)), S, shrink(S, 1.0))
        errors += [np.square(estimate - truth).sum() for estimate in estimates]
    assert errors[0] < 1.1 * errors[1:].min()


def test_shrinkage_is_complete_without_data():
    assert shrinkage_weight(np.zeros((4, 4)), 0) == 1
    assert shrinkage_weight(np.eye(4), 100) == 1
