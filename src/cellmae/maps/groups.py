"""Rows that belong together: their sums and medians, stacks of groups of one size, random sets of rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

ROWS_AT_ONCE = 100_000
ROWS_OF_A_STACK = 20_000
NO_GROUP = -1


@dataclass(frozen=True)
class Groups:
    """Which group each row belongs to.

    Attributes
    ----------
    codes
        Number of the group of each row, :data:`NO_GROUP` for rows of none, shape (rows,).
    names
        Names of the groups, shape (groups,).
    """

    codes: NDArray[np.intp]
    names: pd.Index

    @classmethod
    def of(cls, labels: ArrayLike | pd.Series) -> "Groups":
        """Group rows by label, groups in sorted order; a missing label is no group."""
        codes, names = pd.factorize(pd.Series(labels), sort=True)
        return cls(codes.astype(np.intp), pd.Index(names))

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.names)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each group."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self))

    def only(self, kept: NDArray[np.bool_]) -> "Groups":
        """Return the same groups without the rows that are not kept."""
        return Groups(np.where(kept, self.codes, NO_GROUP), self.names)

    def at_most(self, limit: int, *, seed: int) -> "Groups":
        """Return the same groups with at most ``limit`` rows each, drawn at random."""
        if self.counts.max(initial=0) <= limit:
            return self
        shuffled = np.random.default_rng(seed).permutation(len(self.codes))
        place = pd.Series(self.codes[shuffled]).groupby(self.codes[shuffled]).cumcount().to_numpy()
        kept = np.zeros(len(self.codes), dtype=bool)
        kept[shuffled[place < limit]] = True
        return self.only(kept)

    def stacks(self, *, fewest: int = 1, rows_at_once: int = ROWS_OF_A_STACK) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield groups of one size together: their numbers, shape (some,), and rows, shape (some, size)."""
        order = np.argsort(self.codes, kind="stable")[np.count_nonzero(self.codes < 0) :]
        starts = np.cumsum(self.counts) - self.counts
        for size in np.unique(self.counts[self.counts >= fewest]):
            groups = np.flatnonzero(self.counts == size)
            for some in np.array_split(groups, -(-len(groups) * size // rows_at_once)):
                if len(some):
                    yield some, order[starts[some][:, None] + np.arange(size)]

    def sums(
        self, X: NDArray, *, weights: NDArray | None = None, transform: Callable[[NDArray], NDArray] = np.asarray
    ) -> NDArray[np.float64]:
        """Return the sum of the rows of each group, in float64, shape (groups, dimensions).

        Parameters
        ----------
        X
            Shape (rows, dimensions); read in parts, and never copied as a whole.
        weights
            Of the rows; one by default.
        transform
            What is done to rows before they are added.
        """
        total = np.zeros((len(self), transform(np.empty((0, X.shape[1]))).shape[1]))
        for start in range(0, len(X), ROWS_AT_ONCE):
            kept = start + np.flatnonzero(self.codes[start : start + ROWS_AT_ONCE] >= 0)
            values = np.ones(len(kept)) if weights is None else weights[kept]
            members = sparse.csr_array((values, (self.codes[kept], np.arange(len(kept)))), shape=(len(self), len(kept)))
            total += members @ transform(np.asarray(X[kept], dtype=np.float64))
        return total

    def means(self, X: NDArray, *, weights: NDArray | None = None) -> NDArray[np.float64]:
        """Return the (weighted) mean of the rows of each group, shape (groups, dimensions)."""
        kept = self.codes >= 0
        total = np.bincount(self.codes[kept], None if weights is None else weights[kept], minlength=len(self))
        return self.sums(X, weights=weights) / np.where(total > 0, total, np.nan)[:, None]

    def medians(self, X: NDArray) -> NDArray[np.float64]:
        """Return the median of the rows of each group, shape (groups, dimensions)."""
        middle = np.full((len(self), X.shape[1]), np.nan)
        for groups, rows in self.stacks():
            middle[groups] = np.median(np.asarray(X[rows], dtype=np.float64), axis=1)
        return middle

    def distinct(self, labels: ArrayLike | pd.Series) -> NDArray[np.int64]:
        """Return how many different labels the rows of each group carry."""
        other, names = pd.factorize(pd.Series(labels))
        kept = (self.codes >= 0) & (other >= 0)
        pairs = np.unique(self.codes[kept] * max(len(names), 1) + other[kept])
        return np.bincount(pairs // max(len(names), 1), minlength=len(self))


def random_sets(generator: np.random.Generator, total: int, size: int, draws: int) -> NDArray[np.intp]:
    """Draw sets of ``size`` different numbers below ``total``, shape (draws, size)."""
    if size > total // 4:
        numbers = np.broadcast_to(np.arange(total, dtype=np.int32), (draws, total))
        return generator.permuted(numbers, axis=1)[:, :size]
    sets = generator.integers(total, size=(draws, size))
    while True:
        ordered = np.sort(sets, axis=1)
        twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(twice):
            return sets
        sets[twice] = generator.integers(total, size=(len(twice), size))
