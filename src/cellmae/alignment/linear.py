"""Linear algebra of alignment: exact PCA, inverse roots, shrinkage of covariances, affine maps of low rank."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

RELATIVE_RANK = 1e-9
"""Variances below this share of the largest are rounding noise of float32 features, not components."""

ROUNDING = 1e-13
"""Variances below this share of the largest are rounding noise of float64."""


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


def principal_axes(
    blocks: Iterable[NDArray[np.float64]],
    mean: NDArray[np.float64],
    *,
    wells: int,
    components: int | None = None,
    centred: bool = True,
) -> Axes:
    """Fit an exact PCA, deterministic to the sign, with at most ``components`` axes.

    Axes without variance (constant or duplicated features, fewer wells than components) are left out, so
    that nothing downstream divides by them; one is kept where nothing varies at all.

    Parameters
    ----------
    blocks
        Vectors of the wells, shape (some, features) each; walked through once.
    mean
        Of all wells, shape (features,).
    wells
        How many there are. Below the number of features they are held in memory, else their covariance.
    components
        All that there are by default.
    centred
        Whether the mean projects to zero; else zero does.
    """
    limit = min(components or wells, wells, len(mean))
    decompose = _by_covariance if wells >= len(mean) else _by_svd
    squares, vectors, total = decompose((block - mean for block in blocks), len(mean), limit)
    rank = max(1, int(np.count_nonzero(squares > RELATIVE_RANK * squares.max())))
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    freedom = max(wells - 1, 1)
    return Axes(
        origin=mean if centred else np.zeros_like(mean),
        components=(vectors * np.where(largest < 0, -1, 1))[:rank],
        variance=squares[:rank] / freedom,
        variance_ratio=squares[:rank] / total if total > 0 else np.zeros(rank),
    )


def no_axes(mean: NDArray[np.float64]) -> Axes:
    """Return the axes of wells that do not vary: a single one, on which everything projects to zero."""
    return Axes(mean, np.zeros((1, len(mean))), np.zeros(1), np.zeros(1))


Decomposition = tuple[NDArray[np.float64], NDArray[np.float64], float]
"""Sums of squares along the first axes, shape (axes,), the axes, shape (axes, features), and the sum along all."""


def _by_covariance(blocks: Iterable[NDArray], features: int, axes: int) -> Decomposition:
    scatter = np.zeros((features, features))
    for block in blocks:
        scatter += block.T @ block
    squares, vectors = scipy.linalg.eigh(scatter, subset_by_index=(features - axes, features - 1))
    return np.maximum(squares[::-1], 0), vectors.T[::-1], float(np.trace(scatter))


def _by_svd(blocks: Iterable[NDArray], features: int, axes: int) -> Decomposition:
    _, roots, vectors = np.linalg.svd(np.concatenate(list(blocks)), full_matrices=False)
    return np.square(roots[:axes]), vectors[:axes], float(np.square(roots).sum())


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


@dataclass(frozen=True)
class AffineMaps:
    """For each batch a map ``(T - shift) @ (diag(scale) + basis.T @ diag(gain) @ basis)``.

    The basis spans what the controls of the batch tell. These are few as a rule, so that the map is small and
    quick where a matrix of dimensions x dimensions would be neither.

    Attributes
    ----------
    shift, scale
        Shape (batches, dimensions).
    rank
        Directions in the basis of each batch, shape (batches,).
    basis, gain
        Unit vectors and what they add to the scale, batch after batch, shapes (directions, dimensions) and
        (directions,).
    """

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    rank: NDArray[np.intp]
    basis: NDArray[np.float64]
    gain: NDArray[np.float64]

    @classmethod
    def of_gains(cls, scale: NDArray, directions: Sequence[tuple[NDArray, NDArray]], dimensions: int) -> "AffineMaps":
        """Put maps together from one scale a batch, shape (batches,), and its gains and basis; nothing is shifted."""
        shape = (len(scale), dimensions)
        gains, bases = zip(*directions, strict=True)
        rank = np.array([len(gain) for gain in gains])
        full = np.broadcast_to(scale[:, None], shape)
        return cls(np.zeros(shape), full, rank, np.concatenate(bases), np.concatenate(gains))

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.cumsum([0, *self.rank])

    def apply(self, batch: int, T: NDArray) -> NDArray[np.float64]:
        """Return the wells ``T`` of a batch, shape (wells, dimensions), mapped."""
        own = slice(self._starts[batch], self._starts[batch + 1])
        moved = T - self.shift[batch]
        along = (moved @ self.basis[own].T) * self.gain[own]
        moved *= self.scale[batch]
        moved += along @ self.basis[own]
        return moved

    def joined(self, other: "AffineMaps") -> "AffineMaps":
        """Return the batches of both."""
        names = [field.name for field in fields(self)]
        return AffineMaps(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


def control_directions(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances (divisor n - 1) and axes of one batch's controls, those of variance zero left out.

    Parameters
    ----------
    X
        Shape (controls, dimensions).

    Returns
    -------
    tuple
        Shapes (directions,) and (directions, dimensions).
    """
    controls, dimensions = X.shape
    if controls < 2:
        return np.empty(0), np.empty((0, dimensions))
    centred = X - X.mean(axis=0)
    if controls > dimensions:
        squares, vectors = np.linalg.eigh(centred.T @ centred)
        kept = squares > ROUNDING * squares.max()
        basis = vectors[:, kept].T
    else:
        squares, vectors = np.linalg.eigh(centred @ centred.T)
        kept = squares > ROUNDING * squares.max()
        basis = (vectors[:, kept] / np.sqrt(squares[kept])).T @ centred
    return squares[kept] / (controls - 1), basis
