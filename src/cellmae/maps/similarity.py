"""Cosine similarities, with undefined ones kept apart, and their distribution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

COSINE_DECIMALS = 12
"""Identical profiles have cosines that differ in the last bits: rounding makes them the ties that they are."""
BLOCK_SIZE = 8_000_000
"""Cosines that are held at once where not all need be (64 MB)."""


def unit_vectors(X: NDArray) -> NDArray[np.float64]:
    """Return the rows of ``X`` at length one, in float64; NaN where a row is zero or not finite."""
    X = np.asarray(X, dtype=np.float64)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    defined = np.isfinite(length) & (length > 0)
    return np.divide(X, length, out=np.full(X.shape, np.nan), where=defined)


def cosine_matrix(X: NDArray) -> NDArray[np.float64]:
    """Return the cosine similarity of all pairs of rows, shape (rows, rows); NaN where a row has no direction."""
    U = unit_vectors(X)
    return _cosines(U, U)


def cosine_rows(units: NDArray) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield a block of rows after the other of the matrix of cosines, with the number of the block's first row.

    Parameters
    ----------
    units
        As :func:`unit_vectors` returns them, shape (rows, dimensions).
    """
    for start, stop in _blocks(len(units)):
        yield start, _cosines(units[start:stop], units)


def upper_cosines(units: NDArray) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the same without the columns left of the block: each pair once, but for those within a block."""
    for start, stop in _blocks(len(units)):
        yield start, _cosines(units[start:stop], units[start:])


def cosines_of(units: NDArray, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the cosines of some pairs of rows, to the last bit those of :func:`upper_cosines`, shape (pairs,)."""
    first, second = np.sort(pairs, axis=1).T
    order = np.argsort(first, kind="stable")
    cosines = np.empty(len(pairs))
    for start, block in upper_cosines(units):
        begin, end = np.searchsorted(first, (start, start + len(block)), sorter=order)
        here = order[begin:end]
        cosines[here] = block[first[here] - start, second[here] - start]
    return cosines


def pairs_apart(first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which pairs are known to be of different groups, from the numbers of these; -1 is an unknown one."""
    return (first != second) & (first >= 0) & (second >= 0)


@dataclass(frozen=True)
class Null:
    """The cosines of all pairs of a map, against which each one is judged.

    Attributes
    ----------
    values
        Sorted; undefined cosines are zero, as in scikit-learn.
    undefined
        How many of them are.
    """

    values: NDArray[np.float64]
    undefined: int = 0

    @classmethod
    def of(cls, units: NDArray, groups: NDArray[np.intp] | None = None) -> "Null":
        """Take all pairs of rows, or those of different groups.

        Parameters
        ----------
        units
            As :func:`unit_vectors` returns them, shape (rows, dimensions).
        groups
            Number of each row's group, -1 where it is unknown: a pair with such a row is left out.
        """
        values = np.empty(len(units) * (len(units) - 1) // 2)
        filled = 0
        for start, block in upper_cosines(units):
            for row, cosines in enumerate(block):
                later = cosines[row + 1 :]
                if groups is not None:
                    later = later[pairs_apart(groups[start + row], groups[start + row + 1 :])]
                values[filled : filled + len(later)] = later
                filled += len(later)
        values = values[:filled]
        undefined = np.isnan(values)
        values[undefined] = 0
        values.sort()
        return cls(values, int(undefined.sum()))

    def share_below(self, cosines: NDArray) -> NDArray[np.float64]:
        """Return the share of all pairs strictly below each cosine; NaN for an undefined one."""
        return self._share(cosines, "left")

    def share_at_or_below(self, cosines: NDArray) -> NDArray[np.float64]:
        """Return the share of all pairs at or below each cosine; NaN for an undefined one."""
        return self._share(cosines, "right")

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the cosines beyond which a pair is in a tail.

        A cosine is less than the first where at most a share ``low`` of all pairs is at or below it, and
        greater than the second where at least a share ``high`` is strictly below it.
        """
        below = _largest_count(low, len(self.values))
        above = -_largest_count(-high, len(self.values))
        return float(self.values[below]), float(self.values[above - 1])

    def share_beyond(self, lower: float, upper: float) -> float:
        """Return the share of all pairs with a defined cosine less than ``lower`` or greater than ``upper``."""
        below, to_upper = np.searchsorted(self.values, lower, "left"), np.searchsorted(self.values, upper, "right")
        undefined = self.undefined if lower > 0 or upper < 0 else 0
        return float((below + len(self.values) - to_upper - undefined) / len(self.values))

    def p_values(self, cosines: NDArray) -> NDArray[np.float64]:
        """Return two-sided p-values: twice the share of all pairs at least as far out, with one added to both counts.

        Ties count as farther out: of a map without differences all are 1. NaN for an undefined cosine.
        """
        total = len(self.values)
        at_or_below = np.searchsorted(self.values, cosines, "right")
        at_or_above = total - np.searchsorted(self.values, cosines, "left")
        p = np.minimum(1, 2 * (1 + np.minimum(at_or_below, at_or_above)) / (1 + total))
        return np.where(np.isnan(cosines), np.nan, p)

    def _share(self, cosines: NDArray, side: Literal["left", "right"]) -> NDArray[np.float64]:
        shares = np.searchsorted(self.values, cosines, side=side) / len(self.values)
        return np.where(np.isnan(cosines), np.nan, shares)


def _cosines(rows: NDArray, columns: NDArray) -> NDArray[np.float64]:
    cosines = rows @ columns.T
    np.round(cosines, COSINE_DECIMALS, out=cosines)
    return np.clip(cosines, -1, 1, out=cosines)


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    at_once = max(1, BLOCK_SIZE // max(rows, 1))
    for start in range(0, rows, at_once):
        yield start, min(start + at_once, rows)


def _largest_count(share: float, total: int) -> int:
    """Return the largest integer that divided by ``total``, in floating point, is at most ``share``."""
    count = int(share * total) + 1
    while count / total > share:
        count -= 1
    return count
