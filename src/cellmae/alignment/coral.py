"""What is done to each batch last: CORAL, which brings the covariance of its controls to the common one.

Sun, Feng and Saenko 2016, *Return of Frustratingly Easy Domain Adaptation* (AAAI), on whitened coordinates,
where the common covariance is the identity. A batch of n controls changes n - 1 directions and scales all others
alike, so that no matrix of dimensions x dimensions is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import AffineMaps, control_directions
from cellmae.alignment.moments import within_covariance

EFAAR_RIDGE = 0.5
"""What ``tvn_on_controls`` of recursionpharma/EFAAR_benchmarking adds to every variance."""

Controls = Sequence[NDArray[np.float64]]
"""Whitened controls of each batch, shape (controls, dimensions)."""


@dataclass(frozen=True)
class NoCoral:
    """Batches keep their covariances."""

    def maps(self, controls: Controls) -> AffineMaps:
        """Return the identity for each batch."""
        return _inverse_roots(np.ones(len(controls)), np.zeros(len(controls)), controls)


@dataclass(frozen=True)
class RidgeCoral:
    """EFAAR's CORAL: the inverse root of the covariance of the batch's controls plus half the identity.

    Attributes
    ----------
    pooled
        Mean variance of all controls of the fit, for batches with fewer than two. Whitening on these controls has
        made their covariance this multiple of the identity.
    """

    pooled: float

    def maps(self, controls: Controls) -> AffineMaps:
        """Return the map of each batch."""
        counts = np.array([len(own) for own in controls])
        floor = np.where(counts > 1, EFAAR_RIDGE, self.pooled + EFAAR_RIDGE)
        return _inverse_roots(floor, np.ones(len(controls)), controls)


@dataclass(frozen=True)
class ShrunkCoral:
    """CORAL as far as the covariances of batches differ by more than sampling.

    Attributes
    ----------
    spread
        Mean squared deviation of a batch's covariance from the pooled one, per dimension, beyond sampling.
    sampling
        The deviation that sampling alone gives with one degree of freedom.
    """

    spread: float
    sampling: float

    def weights(self, freedom: NDArray) -> NDArray[np.float64]:
        """Return the weight of each batch's own covariance, next to the identity, shape (batches,)."""
        total = self.spread * freedom + self.sampling
        return np.divide(self.spread * freedom, total, out=np.zeros(len(freedom)), where=total > 0)

    def maps(self, controls: Controls) -> AffineMaps:
        """Return the map of each batch."""
        weights = self.weights(_freedom(controls))
        return _inverse_roots(1 - weights, weights, controls)


def fit_no_coral(controls: Controls) -> NoCoral:
    """Return the correction that does nothing."""
    return NoCoral()


def fit_ridge_coral(controls: Controls) -> RidgeCoral:
    """Fit EFAAR's CORAL on whitened controls."""
    count, dimensions = sum(len(own) for own in controls), controls[0].shape[1]
    total = sum(own.sum(axis=0) for own in controls)
    squares = sum(np.vdot(own, own) for own in controls)  # whitened controls have no mean to speak of
    return RidgeCoral(float((squares - total @ total / count) / (count - 1) / dimensions))


def fit_shrunk_coral(controls: Controls) -> ShrunkCoral:
    """Estimate by moments how much covariances differ between batches.

    The sampling deviation of a covariance P with n degrees of freedom from Gaussian wells is
    (tr(P^2) + tr(P)^2) / n in squared Frobenius norm.
    """
    pooled, _ = within_covariance(controls)
    squares = (pooled**2).sum()
    sampling = (squares + np.trace(pooled) ** 2) / len(pooled)
    freedom = _freedom(controls)
    observed = np.array([_squared_distance(own, pooled, squares) for own in controls]) / len(pooled)
    excess = freedom @ observed - sampling * np.count_nonzero(freedom)
    return ShrunkCoral(float(max(excess, 0) / max(freedom.sum(), 1)), float(sampling))


def _squared_distance(own: NDArray, pooled: NDArray, squares: float) -> float:
    """Return |C - P|^2 = |C|^2 - 2 <C, P> + |P|^2 for the covariance C of ``own``, by its smaller Gram matrix."""
    if len(own) < 2:
        return squares
    centred = (own - own.mean(axis=0)) / np.sqrt(len(own) - 1)
    gram = centred.T @ centred if len(own) > own.shape[1] else centred @ centred.T
    return float((gram**2).sum() - 2 * ((centred @ pooled) * centred).sum() + squares)


def _freedom(controls: Controls) -> NDArray[np.intp]:
    return np.array([max(len(own) - 1, 0) for own in controls])


def _inverse_roots(floor: NDArray, weight: NDArray, controls: Controls) -> AffineMaps:
    """Return for each batch the inverse root of ``floor`` times the identity plus ``weight`` times its covariance."""
    scale = 1 / np.sqrt(floor)
    directions = []
    for own, own_scale, own_floor, own_weight in zip(controls, scale, floor, weight, strict=True):
        variance, basis = control_directions(own if own_weight > 0 else own[:0])
        directions.append((1 / np.sqrt(own_floor + own_weight * variance) - own_scale, basis))
    return AffineMaps.of_gains(scale, directions, controls[0].shape[1])
