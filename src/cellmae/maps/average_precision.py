r"""Average precision of replicates against controls, and of items that share a label against all others.

Kalinin et al. 2025, *A versatile information retrieval framework for evaluating profile strength and similarity*
(Nature Communications 16), and their package copairs; but for ties, which copairs breaks in favour of positives.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from cellmae.maps.groups import Groups
from cellmae.maps.similarity import COSINE_DECIMALS, unit_vectors

COSINES_AT_ONCE = 4_000_000
HALF_A_STEP = 0.5 * 10.0**-COSINE_DECIMALS
ROUNDING = 1e-9
NULL_NUMBERS = 20_000_000
"""Random numbers behind one null distribution; large groups get fewer draws, at least :data:`FEWEST_DRAWS`."""
FEWEST_DRAWS = 999
COLUMNS = ["map", "p_value", "fdr", "chance", "wells"]


def expected_precision(
    positives_above: NDArray, negatives_above: NDArray, positives_tied: NDArray, negatives_tied: NDArray
) -> NDArray[np.float64]:
    r"""Return the precision at a positive, averaged over all orders of the items tied with it.

    Let a positive be one of r positives among n tied items, below t items of which p are positives. It is at
    each place i = 1..n of its group with probability 1 / n, and then (i - 1) (r - 1) / (n - 1) of the other
    positives of the group are expected above it, so that its expected precision is

    .. math:: \frac1n \sum_{i=1}^n \frac{p + 1 + (i - 1) \frac{r - 1}{n - 1}}{t + i}
              = \frac1n \left[(p + 1) D + \frac{r - 1}{n - 1} (n - (t + 1) D)\right],
              \quad D = H_{t + n} - H_t

    with harmonic numbers H. The mean over positives is the average precision of McSherry and Najork 2008,
    *Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores* (ECIR).

    Parameters
    ----------
    positives_above, negatives_above
        Items strictly above, by kind.
    positives_tied, negatives_tied
        Items at the same place, by kind, the positive itself among them.
    """
    above = np.asarray(positives_above + negatives_above)
    tied = np.asarray(positives_tied + negatives_tied)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, np.max(above + tied, initial=0) + 1))])
    spread = harmonic[above + tied] - harmonic[above]
    slope = (positives_tied - 1) / np.maximum(tied - 1, 1)
    return ((positives_above + 1) * spread + slope * (tied - (above + 1) * spread)) / tied


def random_precision(positives: NDArray, negatives: NDArray) -> NDArray[np.float64]:
    """Return the expected average precision of a random order: that of items which are all tied."""
    zeros = np.zeros_like(positives)
    return expected_precision(zeros, zeros, positives, negatives)


@dataclass(frozen=True)
class Null:
    """Mean average precisions under random order, sorted."""

    values: NDArray[np.float64]

    @classmethod
    def of(cls, size: int, negatives: int, *, draws: int, seed: int) -> "Null":
        """Draw the mean average precision of a group whose similarities say nothing.

        All similarities are independent and alike, but two members of a group share the one between them. So
        the pairs of the group get uniform ranks; the negatives above each positive of a member follow as a
        chain of binomials. Independent draws for each member would take the group for larger than it is.

        Parameters
        ----------
        size
            Members of the group; each has all others as positives.
        negatives
            Negatives of each member.
        draws, seed
            Number of draws, and their seed.
        """
        draws = min(draws, max(FEWEST_DRAWS, NULL_NUMBERS // (size * size)))
        generator = np.random.default_rng([seed, size, negatives])
        at_once = max(1, COSINES_AT_ONCE // (size * size))
        parts = [
            _random_means(generator, size, negatives, min(at_once, draws - start)) for start in range(0, draws, at_once)
        ]
        return cls(np.sort(np.concatenate(parts)))

    def p_values(self, values: NDArray) -> NDArray[np.float64]:
        """Return the share of draws at or above each value, one added to both."""
        below = np.searchsorted(self.values, values - ROUNDING)
        return (1 + len(self.values) - below) / (1 + len(self.values))


def activity(
    X: NDArray, groups: Groups, controls: NDArray[np.intp], *, draws: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Score how well replicates of a perturbation find each other among negative controls.

    The query is each well in turn; the other wells of its perturbation are positives, the controls negatives.

    Parameters
    ----------
    X
        Shape (wells, dimensions).
    groups
        The perturbation of each well. Wells without a direction must belong to none.
    controls
        Rows of the negative controls, each with a direction.
    draws, seed
        Of the null distribution.

    Returns
    -------
    DataFrame
        By perturbation: ``map``, the mean over its wells, with ``p_value`` and ``fdr`` (Benjamini-Hochberg);
        ``chance``, its expectation under random order; ``wells``. NaN below two wells or without controls.
    """
    return _table(X, groups, unit_vectors(X[controls]), own_columns=False, draws=draws, seed=seed)


def sharing(X: NDArray, groups: Groups, *, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Score how well items that share a label find each other among all other items.

    Parameters
    ----------
    X
        Shape (items, dimensions): guides, say, or perturbations.
    groups
        The label of each item, such as the gene of a guide. Items without a label are negatives.
    draws, seed
        Of the null distribution.

    Returns
    -------
    DataFrame
        As :func:`activity`, by label.
    """
    units = unit_vectors(X)
    defined = np.isfinite(units).all(axis=1)
    groups = Groups(groups.codes[defined], groups.names)
    return _table(X[defined], groups, units[defined], own_columns=True, draws=draws, seed=seed)


def average_precisions(
    X: NDArray, groups: Groups, negatives: NDArray, *, own_columns: bool = False
) -> NDArray[np.float64]:
    """Return the average precision of each row, NaN for rows of no group or alone in it, shape (rows,).

    Parameters
    ----------
    X
        Shape (rows, dimensions).
    groups
        The other rows of a row's group are its positives.
    negatives
        Unit vectors, shape (negatives, dimensions).
    own_columns
        ``negatives`` are the rows of ``X`` themselves, of which those of other groups count.
    """
    precision = np.full(len(X), np.nan)
    if not len(negatives):
        return precision
    for size_rows in _blocks(groups, len(negatives)):
        units = unit_vectors(X[size_rows.ravel()]).reshape(*size_rows.shape, -1)
        cosines = units.reshape(-1, units.shape[2]) @ negatives.T
        if own_columns:
            own = np.repeat(size_rows, size_rows.shape[1], axis=0)
            np.put_along_axis(cosines, own, -np.inf, axis=1)
        precision[size_rows] = _stack_precision(np.matmul(units, units.transpose(0, 2, 1)), cosines)
    return precision


def _blocks(groups: Groups, negatives: int):
    """Yield rows of groups of one size, as many as fit the memory meant for them."""
    for _, rows in groups.stacks(fewest=2):
        count, size = rows.shape
        needed = count * size * max(negatives, size * size)
        yield from np.array_split(rows, min(count, -(-needed // COSINES_AT_ONCE)))


def _stack_precision(within: NDArray, against: NDArray) -> NDArray[np.float64]:
    """Return average precisions from cosines of members, shape (groups, size, size), and of negatives."""
    count, size, _ = within.shape
    others = ~np.eye(size, dtype=bool)
    positive = np.round(within[:, others].reshape(count * size, size - 1), COSINE_DECIMALS)
    above = (positive[:, None, :] > positive[:, :, None]).sum(axis=2)
    tied = (positive[:, None, :] == positive[:, :, None]).sum(axis=2)
    against.sort(axis=1)
    low, high = np.empty((2, *positive.shape), dtype=np.int64)
    for row, (values, negatives) in enumerate(zip(positive, against, strict=True)):
        low[row] = np.searchsorted(negatives, values - HALF_A_STEP, side="left")
        high[row] = np.searchsorted(negatives, values + HALF_A_STEP, side="right")
    precision = expected_precision(above, against.shape[1] - high, tied, high - low)
    return precision.mean(axis=1).reshape(count, size)


def _table(X: NDArray, groups: Groups, negatives: NDArray, *, own_columns: bool, draws: int, seed: int) -> pd.DataFrame:
    precision = average_precisions(X, groups, negatives, own_columns=own_columns)
    scored = np.isfinite(precision)
    mean = Groups(np.where(scored, groups.codes, -1), groups.names).means(precision[:, None])[:, 0]
    table = pd.DataFrame({"map": mean, "wells": groups.counts}, index=groups.names)
    others = len(negatives) - groups.counts if own_columns else np.full(len(groups), len(negatives))
    for size, rivals in pd.DataFrame({"size": groups.counts, "rivals": others})[np.isfinite(mean)].value_counts().index:
        alike = (groups.counts == size) & (others == rivals)
        null = Null.of(int(size), int(rivals), draws=draws, seed=seed)
        table.loc[alike, "p_value"] = null.p_values(mean[alike])
        table.loc[alike, "chance"] = random_precision(np.array(size - 1), np.array(rivals))
    return with_fdr(table.reindex(columns=COLUMNS))


def with_fdr(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``fdr``, Benjamini and Hochberg's, of its ``p_value``; NaN where that is."""
    p_values = table["p_value"].to_numpy(dtype=float)
    fdr = np.full(len(p_values), np.nan)
    tested = np.isfinite(p_values)
    fdr[tested] = false_discovery_control(p_values[tested])
    return table.assign(fdr=fdr)


def _random_means(generator: np.random.Generator, size: int, negatives: int, draws: int) -> NDArray[np.float64]:
    first, second = np.triu_indices(size, k=1)
    shares = np.zeros((draws, size, size))
    shares[:, first, second] = shares[:, second, first] = generator.random((draws, len(first)))
    ranked = np.sort(shares[:, ~np.eye(size, dtype=bool)].reshape(draws, size, size - 1), axis=2)
    above = np.zeros((draws, size), dtype=np.int64)
    total, passed = np.zeros((draws, size)), np.zeros((draws, size))
    for place in range(size - 1):
        step = (ranked[..., place] - passed) / (1 - passed)
        above += generator.binomial(negatives - above, step)
        total += (place + 1) / (place + 1 + above)
        passed = ranked[..., place]
    return (total / (size - 1)).mean(axis=1)
