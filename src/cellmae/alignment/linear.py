"""Linear algebra of alignment: exact PCA, symmetric inverse roots, shrinkage of covariances."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

RELATIVE_RANK = 1e-9
"""Variances below this share of the largest are rounding noise of float32 features, not components."""


@dataclass(frozen=True)
class Axes:
    """Principal axes.

    Attributes
    ----------
    origin
        Point that projects to zero, shape (features,).
    components
        Unit vectors, shape (components, features); the largest loading of each is positive.
    variance, variance_ratio
        Variance along each, and its share of the total.
    """

    origin: NDArray[np.float64]
    components: NDArray[np.float64]
    variance: NDArray[np.float64]
    variance_ratio: NDArray[np.float64]

    def project(self, X: NDArray) -> NDArray[np.float64]:
        """Return coordinates along the axes, shape (wells, components)."""
        return (X - self.origin) @ self.components.T


def principal_axes(X: NDArray[np.float64], components: int | None = None, *, centred: bool = True) -> Axes:
    """Fit an exact PCA, deterministic to the sign, with at most ``components`` axes.

    Axes without variance (constant or duplicated features, fewer wells than components) are left out, so
    that nothing downstream divides by them; one is kept where nothing varies at all.

    Parameters
    ----------
    X
        Shape (wells, features).
    components
        All that there are by default.
    centred
        Whether the mean of ``X`` projects to zero; else zero does.
    """
    wells, features = X.shape
    limit = min(wells, features)
    solver = "covariance_eigh" if wells >= features else "full"
    with np.errstate(invalid="ignore"):  # scikit-learn's ratio of variances, 0 / 0 where nothing varies
        fitted = PCA(min(components or limit, limit), svd_solver=solver).fit(X)
    variance = fitted.explained_variance_
    rank = max(1, int(np.count_nonzero(variance > RELATIVE_RANK * variance.max())))
    total = X.var(axis=0, ddof=1).sum()
    return Axes(
        origin=fitted.mean_ if centred else np.zeros(features),
        components=fitted.components_[:rank],
        variance=variance[:rank],
        variance_ratio=variance[:rank] / total if total > 0 else np.zeros(rank),
    )


def inverse_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric inverse square root of a positive definite matrix.

    Directions without variance are given none: the inverse is Moore and Penrose's.
    """
    values, vectors = np.linalg.eigh(covariance)
    kept = values > RELATIVE_RANK * values.max(initial=0)
    return (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T


def shrinkage_weight(covariance: NDArray[np.float64], freedom: int) -> float:
    """Return the oracle approximating weight of the scaled identity in a shrunk covariance.

    Equation 23 of Chen, Wiesel, Eldar and Hero 2010, *Shrinkage Algorithms for MMSE Covariance Estimation*
    (IEEE Trans. Signal Process. 58), with degrees of freedom for the number of samples.

    Returns
    -------
    float
        1 where there is nothing to go by, towards 0 as ``freedom`` grows.
    """
    size = len(covariance)
    squared_trace = np.trace(covariance) ** 2
    squares = (covariance**2).sum()
    dispersion = (freedom + 1 - 2 / size) * (squares - squared_trace / size)
    if freedom < 1 or dispersion <= 0:
        return 1.0
    return float(min(1.0, ((1 - 2 / size) * squares + squared_trace) / dispersion))


def shrink(covariance: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return the covariance moved by ``weight`` towards the identity times its mean variance."""
    size = len(covariance)
    return (1 - weight) * covariance + weight * np.trace(covariance) / size * np.eye(size)
