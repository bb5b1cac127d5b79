"""Consistency: how alike the replicates of a perturbation are, and whether random wells are as alike."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cellmae.maps.average_precision import with_fdr
from cellmae.maps.groups import NO_GROUP, Groups, random_sets
from cellmae.maps.similarity import unit_vectors
from cellmae.maps.wells import directed

ROUNDING = 1e-9
MOST_POOLED = 20_000
"""Wells that null sets are drawn from; drawn at random where there are more."""
LARGEST_SET = 1000
"""Wells of a set; perturbations with more are compared with sets of as many."""
NULL_WELLS = 4_000_000
"""Wells drawn for one null distribution; large sets get fewer draws, at least :data:`FEWEST_DRAWS`."""
FEWEST_DRAWS = 999


def consistency(X: NDArray, groups: ArrayLike | pd.Series) -> pd.Series:
    """Return the mean cosine of all pairs of rows in each group.

    For n unit vectors that add up to s it is (|s|^2 - n) / (n (n - 1)): no pair is visited. Rows without a
    direction do not count; NaN where fewer than two remain.

    Parameters
    ----------
    X
        Shape (rows, dimensions).
    groups
        Label of each row.

    Returns
    -------
    Series
        By label, sorted.
    """
    grouped = Groups.of(groups)
    return pd.Series(mean_cosines(X, grouped), index=grouped.names)


def mean_cosines(X: NDArray, groups: Groups) -> NDArray[np.float64]:
    """Return the consistency of each group, see :func:`consistency`, shape (groups,)."""
    sums, count = _direction_sums(X, groups)
    pairs = np.where(count > 1, count * (count - 1), np.nan)
    return (np.square(sums).sum(axis=1) - count) / pairs


def mean_cosines_across(X: NDArray, groups: Groups, plates: ArrayLike | pd.Series) -> NDArray[np.float64]:
    """Return the mean cosine of those pairs in each group that lie on different plates, shape (groups,).

    With s_b for the sum of a group's n_b unit vectors on plate b, and s and n over all plates, it is
    (|s|^2 - sum |s_b|^2) / (n^2 - sum n_b^2). NaN where no pair lies on two plates.
    """
    plate, names = pd.factorize(pd.Series(plates))
    width = max(len(names), 1)
    inside = (groups.codes >= 0) & (plate >= 0)
    parts = Groups.of(pd.Series(groups.codes * width + plate).where(inside))
    part_sums, part_count = _direction_sums(X, parts)
    owner = Groups(np.asarray(parts.names, dtype=np.intp) // width, groups.names)
    sums, count = owner.sums(part_sums), owner.sums(part_count[:, None])[:, 0]
    own_pairs = owner.sums(np.square(part_count)[:, None])[:, 0]
    own = owner.sums(np.square(part_sums).sum(axis=1, keepdims=True))[:, 0]
    pairs = np.square(count) - own_pairs
    return (np.square(sums).sum(axis=1) - own) / np.where(pairs > 0, pairs, np.nan)


def score_consistency(
    X: NDArray,
    groups: Groups,
    pool: NDArray[np.intp],
    *,
    plates: ArrayLike | pd.Series | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score the consistency of each group against sets of as many wells from a pool.

    Parameters
    ----------
    X
        Shape (wells, dimensions).
    groups
        The perturbation of each well; wells without a direction must belong to none.
    pool
        Rows, all with a direction, that sets are drawn from: wells of unexpressed genes, non-targeting
        controls, or the wells of all perturbations. A set that holds a well of a perturbation does not count
        for that one.
    plates
        Plate of each well, for ``across_plates``.
    draws, seed
        Of the null distribution of each number of wells.

    Returns
    -------
    DataFrame
        By perturbation: ``consistency``, ``p_value`` (share of sets at least as consistent, one added to
        both), ``fdr`` (Benjamini-Hochberg), ``chance`` (mean of the sets), ``across_plates`` (pairs on
        different plates only), and ``wells``. NaN below two wells, or where the pool is too small.
    """
    observed = mean_cosines(X, groups)
    table = pd.DataFrame({"consistency": observed, "p_value": np.nan, "chance": np.nan}, index=groups.names)
    sizes = np.where(np.isfinite(observed), np.minimum(groups.counts, LARGEST_SET), 0)
    for size, sets, null in _growing_sets(X, pool, np.unique(sizes[sizes > 0]), draws=draws, seed=seed):
        own = np.flatnonzero(sizes == size)
        table.iloc[own, 1] = _p_values(observed[own], null, _places(own, len(groups))[groups.codes[sets]])
        table.iloc[own, 2] = null.mean()
    if plates is not None:
        table["across_plates"] = mean_cosines_across(X, groups, plates)
    return with_fdr(table.assign(wells=groups.counts))


def _growing_sets(
    X: NDArray, pool: NDArray[np.intp], sizes: NDArray[np.int64], *, draws: int, seed: int
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.float64]]]:
    """Yield for each size that the pool has room for sets of rows, shape (sets, size), and their consistencies.

    Sets of one size are those of the size before with another row each, so that every row is added once.
    """
    sizes = sizes[sizes <= len(pool)]
    if not len(sizes):
        return
    generator = np.random.default_rng(seed)
    if len(pool) > MOST_POOLED:
        pool = np.sort(generator.choice(pool, MOST_POOLED, replace=False))
    units = unit_vectors(X[pool])
    places = random_sets(generator, len(pool), int(sizes.max()), draws)
    sums = np.zeros((draws, X.shape[1]))
    for size in range(1, int(sizes.max()) + 1):
        count = min(draws, max(FEWEST_DRAWS, NULL_WELLS // size))
        sums = sums[:count]
        sums += units[places[:count, size - 1]]
        if size in sizes:
            squares = np.einsum("sd,sd->s", sums, sums)
            yield size, pool[places[:count, :size]], (squares - size) / (size * (size - 1))


def _places(own: NDArray[np.intp], groups: int) -> NDArray[np.intp]:
    """Return the place of each group among ``own``, -1 for others and for no group, which is the last entry."""
    places = np.full(groups + 1, NO_GROUP)
    places[own] = np.arange(len(own))
    return places


def _p_values(observed: NDArray, null: NDArray, members: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return for each group the share of sets without a well of it that reach its value.

    ``members`` holds the group of each well of each set, shape (sets, size), -1 for wells of none.
    """
    drawn, place = np.nonzero(members >= 0)
    drawn, group = np.divmod(np.unique(drawn * len(observed) + members[drawn, place]), len(observed))
    threshold = observed - ROUNDING
    reached = len(null) - np.searchsorted(np.sort(null), threshold)
    reached = reached - np.bincount(group, null[drawn] >= threshold[group], minlength=len(observed))
    total = len(null) - np.bincount(group, minlength=len(observed))
    return (1 + reached) / (1 + total)


def _direction_sums(X: NDArray, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return for each group the sum of its unit vectors and how many there are."""
    pointing = groups.only(directed(X))
    return pointing.sums(X, transform=unit_vectors), pointing.counts
