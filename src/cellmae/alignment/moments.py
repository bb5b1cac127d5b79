"""First and second moments of wells within batches: all that alignment needs to know of the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.chunks import BatchRows, Chunks, walk
from cellmae.errors import DataError
from cellmae.screen.listing import listing

FLOAT32_NOISE = 1e-6
"""Deviation, relative to the largest value, below which a feature is constant but for float32 rounding."""


@dataclass(frozen=True)
class Moments:
    """Counts, means and variances (divisor n - 1; zero below two wells) of a group of wells in each batch.

    Attributes
    ----------
    count
        Wells, shape (batches,).
    mean, variance, peak
        Shape (batches, features); ``peak`` is the largest absolute value.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    peak: NDArray[np.float64]

    @property
    def freedom(self) -> NDArray[np.int64]:
        """Degrees of freedom of each batch's variance."""
        return np.maximum(self.count - 1, 0)

    def pooled_variance(self) -> NDArray[np.float64]:
        """Return the variance within batches, pooled over them; zero where no batch has two wells."""
        return self.freedom @ self.variance / max(self.freedom.sum(), 1)

    def total_mean(self) -> NDArray[np.float64]:
        """Return the mean of the wells of all batches."""
        return self.count @ self.mean / max(self.count.sum(), 1)

    def total_variance(self) -> NDArray[np.float64]:
        """Return the variance of the wells of all batches about their common mean, divisor n - 1."""
        between = self.count @ np.square(self.mean - self.total_mean())
        return (self.freedom @ self.variance + between) / max(self.count.sum() - 1, 1)

    def moved(self, centre: NDArray, scale: NDArray) -> "Moments":
        """Return the moments of wells less ``centre``, divided by ``scale``."""
        mean = (self.mean - centre) / scale * (self.count > 0)[:, None]
        return Moments(self.count, mean, self.variance / np.square(scale), np.abs(self.peak / scale))


@dataclass(frozen=True)
class BatchMoments:
    """Moments of all wells, and of the controls among them."""

    wells: Moments
    controls: Moments


class _Sums:
    """Moments of groups of wells that come in pieces, without a sum of squares about a far-off zero.

    Pieces are put together as in Chan, Golub and LeVeque 1983, Am. Stat. 37.
    """

    def __init__(self, batches: int, features: int) -> None:
        self.count = np.zeros(batches, dtype=np.int64)
        self.mean, self.squares, self.peak = np.zeros((3, batches, features))

    def add(self, batch: int, X: NDArray[np.float64]) -> None:
        before, new = self.count[batch], len(X)
        if new:
            mean = X.mean(axis=0)
            squares = np.einsum("ij,ij->j", deviations := X - mean, deviations)
            step = mean - self.mean[batch]
            self.count[batch] += new
            self.mean[batch] += step * (new / self.count[batch])
            self.squares[batch] += squares + np.square(step) * (before * new / self.count[batch])
            self.peak[batch] = np.maximum(self.peak[batch], np.maximum(X.max(axis=0), -X.min(axis=0)))

    def moments(self) -> Moments:
        return Moments(self.count, self.mean, self.squares / np.maximum(self.count - 1, 1)[:, None], self.peak)


def batch_moments(chunks: Chunks, batches: BatchRows) -> BatchMoments:
    """Return the moments of each batch's wells, and of its controls, in one pass.

    Raises
    ------
    DataError
        A vector holds NaN or infinity.
    """
    wells, controls = (_Sums(len(batches.names), chunks.shape[1]) for _ in range(2))
    for _, X, own in walk(chunks, batches):
        for batch, rows in own.groups():
            values = X[rows].astype(np.float64)
            wells.add(batch, values)
            controls.add(batch, values[own.is_control[rows]])
    broken = ~np.isfinite(wells.peak).all(axis=1)
    if broken.any():
        raise DataError(
            f"embeddings hold NaN or infinity in the batches {listing(batches.names[broken])}: "
            "cellmae.alignment.annotate leaves such wells out"
        )
    return BatchMoments(wells.moments(), controls.moments())


def constant_features(peak: NDArray, deviation: NDArray) -> NDArray[np.bool_]:
    """Tell which features of largest absolute value ``peak`` hold nothing but rounding noise."""
    return deviation <= FLOAT32_NOISE * peak


def within_covariance(groups: Sequence[NDArray]) -> tuple[NDArray[np.float64], int]:
    """Return the covariance within groups, pooled over them, and its degrees of freedom.

    Parameters
    ----------
    groups
        Vectors of each group, shape (wells, dimensions). Zero degrees of freedom come with a matrix of zeros.
    """
    centred = np.concatenate([X - X.mean(axis=0) if len(X) else X for X in groups])
    freedom = sum(max(len(X) - 1, 0) for X in groups)
    return centred.T @ centred / max(freedom, 1), freedom
