"""CORAL: the covariance of each batch's controls brought to a common one.

Sun, Feng and Saenko 2016, *Return of Frustratingly Easy Domain Adaptation* (AAAI), on whitened coordinates,
where the common covariance is the identity.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import inverse_root
from cellmae.alignment.moments import BatchRows, within_covariance

EFAAR_RIDGE = 0.5
"""What ``tvn_on_controls`` of recursionpharma/EFAAR_benchmarking adds to every variance."""


@dataclass(frozen=True)
class NoCoral:
    """Batches keep their covariances."""

    def matrices(self, T: NDArray, batches: BatchRows) -> NDArray[np.float64]:
        """Return the identity for each batch, shape (batches, dimensions, dimensions)."""
        return np.broadcast_to(np.eye(T.shape[1]), (len(batches.names), T.shape[1], T.shape[1]))


@dataclass(frozen=True)
class RidgeCoral:
    """EFAAR's CORAL: the inverse root of the covariance of the batch's controls plus half the identity.

    Attributes
    ----------
    pooled
        Covariance of all controls of the fit, for batches with fewer than two.
    """

    pooled: NDArray[np.float64]

    def matrices(self, T: NDArray, batches: BatchRows) -> NDArray[np.float64]:
        """Return one matrix a batch, shape (batches, dimensions, dimensions)."""
        ridge = EFAAR_RIDGE * np.eye(T.shape[1])
        own = (within_covariance(T, [rows])[0] if len(rows) > 1 else self.pooled for rows in batches.controls)
        return np.stack([inverse_root(covariance + ridge) for covariance in own])


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

    def matrices(self, T: NDArray, batches: BatchRows) -> NDArray[np.float64]:
        """Return one matrix a batch, shape (batches, dimensions, dimensions)."""
        identity = np.eye(T.shape[1])
        covariances, freedom = _covariances(T, batches)
        pairs = zip(self.weights(freedom), covariances, strict=True)
        return np.stack([inverse_root((1 - weight) * identity + weight * own) for weight, own in pairs])


def fit_no_coral(T: NDArray, batches: BatchRows) -> NoCoral:
    """Return the correction that does nothing."""
    return NoCoral()


def fit_ridge_coral(T: NDArray, batches: BatchRows) -> RidgeCoral:
    """Fit EFAAR's CORAL on whitened wells ``T``."""
    return RidgeCoral(np.cov(T[batches.all_controls], rowvar=False, ddof=1).reshape(T.shape[1], -1))


def fit_shrunk_coral(T: NDArray, batches: BatchRows) -> ShrunkCoral:
    """Estimate by moments how much covariances differ between batches.

    The sampling deviation of a covariance P with n degrees of freedom from Gaussian wells is
    (tr(P^2) + tr(P)^2) / n in squared Frobenius norm.
    """
    pooled, _ = within_covariance(T, batches.controls)
    sampling = ((pooled**2).sum() + np.trace(pooled) ** 2) / T.shape[1]
    covariances, freedom = _covariances(T, batches)
    observed = ((covariances - pooled) ** 2).sum(axis=(1, 2)) / T.shape[1]
    excess = freedom @ observed - sampling * np.count_nonzero(freedom)
    return ShrunkCoral(float(max(excess, 0) / max(freedom.sum(), 1)), float(sampling))


def _covariances(T: NDArray, batches: BatchRows) -> tuple[NDArray, NDArray]:
    found = [within_covariance(T, [rows]) for rows in batches.controls]
    return np.stack([covariance for covariance, _ in found]), np.array([freedom for _, freedom in found])
