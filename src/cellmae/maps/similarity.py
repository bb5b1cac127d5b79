"""Cosine similarities, with undefined ones kept apart, and their distribution."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

COSINE_DECIMALS = 12
"""Identical profiles have cosines that differ in the last bits: rounding makes them the ties that they are."""


def unit_vectors(X: NDArray) -> NDArray[np.float64]:
    """Return the rows of ``X`` at length one, in float64; NaN where a row is zero or not finite."""
    X = np.asarray(X, dtype=np.float64)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    defined = np.isfinite(length) & (length > 0)
    return np.divide(X, length, out=np.full(X.shape, np.nan), where=defined)


def cosine_matrix(X: NDArray) -> NDArray[np.float64]:
    """Return the cosine similarity of all pairs of rows, shape (rows, rows); NaN where a row has no direction."""
    U = unit_vectors(X)
    return np.clip(np.round(U @ U.T, COSINE_DECIMALS), -1, 1)


@dataclass(frozen=True)
class Null:
    """The cosines of all pairs of a map, against which each one is judged.

    Attributes
    ----------
    values
        Sorted; undefined cosines are zero, as in scikit-learn.
    """

    values: NDArray[np.float64]

    @classmethod
    def of(cls, cosine: NDArray[np.float64]) -> "Null":
        """Take the pairs above the diagonal of a matrix of cosines."""
        return cls(np.sort(np.nan_to_num(cosine[np.triu_indices(len(cosine), k=1)])))

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

    def _share(self, cosines: NDArray, side: Literal["left", "right"]) -> NDArray[np.float64]:
        shares = np.searchsorted(self.values, cosines, side=side) / len(self.values)
        return np.where(np.isnan(cosines), np.nan, shares)


def _largest_count(share: float, total: int) -> int:
    """Return the largest integer that divided by ``total``, in floating point, is at most ``share``."""
    count = int(share * total) + 1
    while count / total > share:
        count -= 1
    return count
