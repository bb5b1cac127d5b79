"""Which pairs of a map lie in the tails of all, and how many known pairs would by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.maps.similarity import Null, pairs_apart, upper_cosines


@dataclass(frozen=True)
class Tails:
    """For every pair of a map the thresholds at which it would count as recalled.

    Attributes
    ----------
    codes
        Shape (names, names): bit t is set for a pair in the tails of threshold t, a last bit for every pair
        that counts at all. One byte a pair holds seven thresholds.
    thresholds
        Their number.
    """

    codes: NDArray[np.unsignedinteger]
    thresholds: int

    @classmethod
    def of(
        cls,
        units: NDArray,
        null: Null,
        thresholds: Sequence[Sequence[float]],
        groups: NDArray[np.intp] | None = None,
    ) -> "Tails":
        """Judge all pairs of rows, or those of different groups, by their null.

        Parameters
        ----------
        units, groups
            What the null was taken of, see :meth:`Null.of`.
        null
            The cosines of these pairs.
        thresholds
            Pairs of shares (low, high).
        """
        bounds = [null.bounds(low, high) for low, high in thresholds]
        counts = 1 << len(bounds)
        codes = np.zeros((len(units), len(units)), dtype=np.min_scalar_type(2 * counts - 1))
        for start, cosines in upper_cosines(units):
            rows = slice(start, start + len(cosines))
            block = np.full(cosines.shape, counts, dtype=codes.dtype)
            for bit, (lower, upper) in enumerate(bounds):
                block |= ((cosines < lower) | (cosines > upper)).astype(codes.dtype) << bit
            if groups is not None:
                block *= pairs_apart(groups[rows, None], groups[None, start:])
            codes[rows, start:] = block
            codes[start:, rows] = block.T
        return cls(codes, len(bounds))

    def permuted_shares(self, pairs: NDArray[np.intp], *, replicates: int, seed: int) -> NDArray[np.float64]:
        """Return the recall of known pairs under permuted names, shape (replicates, thresholds).

        Each permutation gives the known pairs the profiles of others. Of those that thereby become pairs which
        do not count, none is in numerator or denominator.

        Parameters
        ----------
        pairs
            Numbers of the two members, shape (pairs, 2).
        replicates, seed
            Number of permutations, and their seed.
        """
        generator = np.random.default_rng(seed)
        first, second = np.ascontiguousarray(pairs.T)
        codes, size = self.codes.ravel(), len(self.codes)
        counts = np.empty((replicates, self.thresholds + 1))
        bits = [self.codes.dtype.type(1 << bit) for bit in range(self.thresholds + 1)]
        for replicate in range(replicates):
            order = generator.permutation(size)
            drawn = codes[(order * size)[first] + order[second]]
            counts[replicate] = [np.count_nonzero(drawn & bit) for bit in bits]
        total = counts[:, -1:]
        return np.divide(counts[:, :-1], total, out=np.full((replicates, self.thresholds), np.nan), where=total > 0)
