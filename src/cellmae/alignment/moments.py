"""First and second moments of wells within batches: all that alignment needs to know of the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FLOAT32_NOISE = 1e-6
"""Deviation, relative to the largest value, below which a feature is constant but for float32 rounding."""


@dataclass(frozen=True)
class BatchRows:
    """Row numbers of the wells of each batch, batches in sorted order.

    Attributes
    ----------
    names
        Shape (batches,).
    wells, controls
        For each batch the rows of all its wells, and of the negative controls among them.
    """

    names: NDArray[np.str_]
    wells: Sequence[NDArray[np.intp]]
    controls: Sequence[NDArray[np.intp]]

    @classmethod
    def of(cls, batches: Sequence[str] | pd.Series, controls: NDArray[np.bool_]) -> "BatchRows":
        """Group wells by batch."""
        names, codes = np.unique(np.asarray(batches, dtype=str), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        wells = np.split(order, np.cumsum(np.bincount(codes))[:-1])
        return cls(names, wells, [rows[controls[rows]] for rows in wells])

    def without(self, names: NDArray[np.str_]) -> "BatchRows":
        """Return the batches that are not among ``names``."""
        kept = np.flatnonzero(~np.isin(self.names, names)).tolist()
        return BatchRows(self.names[kept], [self.wells[i] for i in kept], [self.controls[i] for i in kept])

    @property
    def all_controls(self) -> NDArray[np.intp]:
        """Rows of the controls of all batches."""
        return np.concatenate(list(self.controls))


def constant_features(X: NDArray, deviation: NDArray) -> NDArray[np.bool_]:
    """Tell which columns of ``X`` with standard deviation ``deviation`` hold nothing but rounding noise."""
    return deviation <= FLOAT32_NOISE * np.abs(X).max(axis=0)


@dataclass(frozen=True)
class Moments:
    """Counts, means and variances (divisor n - 1; zero below two wells) of a group of wells in each batch.

    Attributes
    ----------
    count
        Wells, shape (batches,).
    mean, variance
        Shape (batches, features).
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def freedom(self) -> NDArray[np.int64]:
        """Degrees of freedom of each batch's variance."""
        return np.maximum(self.count - 1, 0)

    def pooled_variance(self) -> NDArray[np.float64]:
        """Return the variance within batches, pooled over them; zero where no batch has two wells."""
        return self.freedom @ self.variance / max(self.freedom.sum(), 1)


def batch_moments(X: NDArray, groups: Sequence[NDArray[np.intp]]) -> Moments:
    """Return the moments of the rows of ``X`` in each group."""
    mean, variance = np.zeros((2, len(groups), X.shape[1]))
    for batch, rows in enumerate(groups):
        if len(rows):
            mean[batch] = X[rows].mean(axis=0)
        if len(rows) > 1:
            variance[batch] = X[rows].var(axis=0, ddof=1)
    return Moments(np.array([len(rows) for rows in groups]), mean, variance)


def within_covariance(X: NDArray, groups: Sequence[NDArray[np.intp]]) -> tuple[NDArray[np.float64], int]:
    """Return the covariance within groups, pooled over them, and its degrees of freedom.

    Zero degrees of freedom come with a matrix of zeros.
    """
    scatter = np.zeros((X.shape[1], X.shape[1]))
    freedom = 0
    for rows in groups:
        if len(rows) > 1:
            centred = X[rows] - X[rows].mean(axis=0)
            scatter += centred.T @ centred
            freedom += len(rows) - 1
    return scatter / max(freedom, 1), freedom
