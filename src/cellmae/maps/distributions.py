"""How far the cosines of replicate pairs are from those of unrelated pairs: Kolmogorov-Smirnov, Cramer-von-Mises.

Kenyon-Dean et al. 2024, *ViTally Consistent: Scaling Biological Representation Learning for Cell Microscopy*
(arXiv 2411.02572).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.maps.groups import Groups
from cellmae.maps.similarity import COSINE_DECIMALS, unit_vectors

MOST_PAIRS = 100_000
PAIRS_AT_ONCE = 20_000


@dataclass(frozen=True)
class PairCosines:
    """Cosines of replicate pairs and of unrelated pairs.

    Attributes
    ----------
    replicates, unrelated
        Shape (pairs,).
    owner
        Number of the perturbation of each replicate pair.
    """

    replicates: NDArray[np.float64]
    owner: NDArray[np.intp]
    unrelated: NDArray[np.float64]


def pair_cosines(X: NDArray, groups: Groups, *, most_pairs: int = MOST_PAIRS, seed: int = 0) -> PairCosines:
    """Draw pairs of wells of one perturbation, and as many pairs of wells of two.

    Parameters
    ----------
    X
        Shape (wells, dimensions).
    groups
        The perturbation of each well; wells without a direction must belong to none.
    most_pairs
        Replicate pairs drawn at random where there are more; the number of unrelated pairs.
    seed
        Of both.
    """
    generator = np.random.default_rng(seed)
    pairs = _replicate_pairs(groups)
    if len(pairs) > most_pairs:
        pairs = pairs[np.sort(generator.choice(len(pairs), most_pairs, replace=False))]
    scored = np.flatnonzero(groups.codes >= 0)
    unrelated = np.empty((0, 2), dtype=np.intp)
    if np.count_nonzero(groups.counts) > 1:
        while len(unrelated) < most_pairs:
            drawn = scored[generator.integers(len(scored), size=(most_pairs, 2))]
            apart = groups.codes[drawn[:, 0]] != groups.codes[drawn[:, 1]]
            unrelated = np.concatenate([unrelated, drawn[apart]])[:most_pairs]
    return PairCosines(_cosines(X, pairs), groups.codes[pairs[:, 0]], _cosines(X, unrelated))


def compare_distributions(
    sample: NDArray, reference: NDArray, weights: NDArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return how far the distribution of a sample is from that of a reference.

    With the empirical distribution functions F and G of the two, the Kolmogorov-Smirnov statistic is the
    largest :math:`|F - G|`, and the Cramer-von-Mises one the mean of :math:`(F - G)^2` over all values of
    both. The second is that of ``scipy.stats.cramervonmises_2samp`` without ties divided by n m / (n + m), so
    that it does not grow with the sizes n and m.

    Parameters
    ----------
    sample, reference
        Values.
    weights
        Weights of the sample's values, shape (versions, values); one version with equal weights by default.

    Returns
    -------
    tuple
        Both statistics, each of shape (versions,).
    """
    weights = np.ones((1, len(sample))) if weights is None else weights
    values, place = np.unique(np.concatenate([sample, reference]), return_inverse=True)
    mine, theirs = place[: len(sample)], place[len(sample) :]
    reference_counts = np.bincount(theirs, minlength=len(values))
    other = np.cumsum(reference_counts) / len(reference)
    results = []
    for weight in weights:
        own_counts = np.bincount(mine, weight, minlength=len(values))
        gap = np.cumsum(own_counts) / own_counts.sum() - other
        share = (own_counts + reference_counts) / (own_counts.sum() + len(reference))
        results.append((np.abs(gap).max(), np.square(gap) @ share))
    largest, squared = np.array(results).T
    return largest, squared


def _replicate_pairs(groups: Groups) -> NDArray[np.intp]:
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for _, rows in groups.stacks(fewest=2):
        first, second = np.triu_indices(rows.shape[1], k=1)
        pairs.append(np.stack([rows[:, first], rows[:, second]], axis=2).reshape(-1, 2))
    return np.concatenate(pairs)


def _cosines(X: NDArray, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    parts = [
        np.einsum("pd,pd->p", *(unit_vectors(X[side]) for side in some.T))
        for some in np.array_split(pairs, len(pairs) // PAIRS_AT_ONCE + 1)
    ]
    return np.round(np.concatenate(parts), COSINE_DECIMALS)
