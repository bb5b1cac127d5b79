"""Intervals and tests that resample perturbations, since pairs that share one are not independent."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

INTERVAL = (0.025, 0.975)
REPLICATES_AT_ONCE = 250


def resampled_shares(
    pairs: NDArray[np.intp], hits: NDArray[np.bool_], *, replicates: int, seed: int
) -> NDArray[np.float64]:
    """Return the share of hits among pairs under resampling of their members.

    A member drawn w times gives each of its pairs that weight: pair (i, j) weighs w_i w_j. With the pairs as
    a sparse matrix A, the sum of their weights is the quadratic form w A w.

    Parameters
    ----------
    pairs
        Numbers of the two members, shape (pairs, 2).
    hits
        Shape (pairs, scores): several scores of the same pairs get the same draws.
    replicates, seed
        Number of draws, and their seed.

    Returns
    -------
    ndarray
        Shape (replicates, scores); NaN where a draw holds no pair.
    """
    members, numbers = np.unique(pairs, return_inverse=True)
    first, second = numbers.reshape(pairs.shape).T
    # Side by side in one matrix, so that one product with the draws serves all scores.
    columns = [np.ones(len(pairs)), *hits.T.astype(float)]
    matrix = sparse.vstack([_weights(first, second, column, len(members)) for column in columns], format="csr")
    blocks = [np.empty((0, hits.shape[1]))]
    for draws in resamples(len(members), replicates=replicates, seed=seed):
        weights = np.ascontiguousarray(draws.T)
        products = (matrix @ weights).reshape(len(columns), len(members), -1)
        total, *sums = np.einsum("imb,mb->ib", products, weights)
        shares = np.divide(sums, total, out=np.full((len(sums), len(total)), np.nan), where=total > 0)
        blocks.append(shares.T)
    return np.concatenate(blocks)


def resamples(size: int, *, replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of ``size`` members is drawn, in blocks of shape (replicates, members)."""
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, REPLICATES_AT_ONCE):
        count = min(REPLICATES_AT_ONCE, replicates - start)
        drawn = generator.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size).astype(float)


def interval(replicates: NDArray) -> tuple[float, float]:
    """Return the 95 % percentile interval of replicates, those that are NaN left out."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.quantile(finite, INTERVAL)
    return float(low), float(high)


def p_value(differences: NDArray) -> float:
    """Return the two-sided bootstrap p-value of a difference: twice the share of replicates beyond zero.

    With one added to numerator and denominator, as for any Monte Carlo test (Davison and Hinkley 1997,
    *Bootstrap Methods and their Application*, section 4.2).
    """
    finite = differences[np.isfinite(differences)]
    beyond = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return min(1.0, 2 * (1 + beyond) / (1 + len(finite)))


def _weights(first: NDArray, second: NDArray, values: NDArray, size: int) -> sparse.csr_array:
    return sparse.csr_array((values, (first, second)), shape=(size, size))
