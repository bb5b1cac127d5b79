"""Proximity bias: whether genes on one chromosome arm look alike because of where they lie.

Lazar et al. 2024, *High-resolution genome-wide mapping of chromosome-arm-scale truncations induced by
CRISPR-Cas9 editing* (Nature Genetics 56), measure it by the Brunner-Munzel test (2000, *The Nonparametric
Behrens-Fisher Problem*, Biometrical J. 42).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from cellmae.maps.average_precision import with_fdr
from cellmae.maps.similarity import COSINE_DECIMALS, unit_vectors

MIN_GENES = 5
"""Genes of an arm below which it is not scored."""
COLUMNS = ["arm", "probability", "statistic", "p_value", "fdr", "genes", "pairs_within", "pairs_between"]


class BrunnerMunzel(NamedTuple):
    """Probability that a value of ``x`` exceeds one of ``y`` (ties half), statistic, and two-sided p-value."""

    probability: float
    statistic: float
    p_value: float


def brunner_munzel(x: NDArray, sorted_y: NDArray) -> BrunnerMunzel:
    """Test whether values of ``x`` tend to exceed those of ``y``, as ``scipy.stats.brunnermunzel(y, x)``.

    Only ``y`` and ``x`` are sorted, never both together: where the values of x fall into y tells both
    placements.

    Parameters
    ----------
    x
        Values, usually the few.
    sorted_y
        Values in ascending order.
    """
    values, count = np.unique(x, return_counts=True)
    n, m = len(x), len(sorted_y)
    left, right = (np.searchsorted(sorted_y, values, side=side) for side in ("left", "right"))
    below = (left + right) / 2  # of y, for each value of x
    before = np.cumsum(count) - count
    # Values of y between two of x have `passed` of x below them, those equal to one of x half of its count more.
    passed = np.concatenate([[0], np.cumsum(count), before + count / 2])
    gaps = np.concatenate([left, [m]]) - np.concatenate([[0], right])
    times = np.concatenate([gaps, right - left])
    probability = count @ below / (n * m)
    x_spread = count @ np.square(below - probability * m) / max(n - 1, 1)
    y_spread = times @ np.square(passed - (1 - probability) * n) / max(m - 1, 1)
    variance = n * x_spread + m * y_spread
    if n < 2 or m < 2 or variance <= 0:
        return BrunnerMunzel(float(probability), np.nan, np.nan)
    statistic = n * m * (probability - 0.5) / np.sqrt(variance)
    freedom = variance**2 / ((n * x_spread) ** 2 / (n - 1) + (m * y_spread) ** 2 / (m - 1))
    return BrunnerMunzel(float(probability), float(statistic), float(2 * student.sf(abs(statistic), freedom)))


def proximity_bias(X: NDArray, arms: pd.Series) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Score for each chromosome arm whether its genes are more alike than genes of two arms.

    Parameters
    ----------
    X
        Shape (genes, dimensions).
    arms
        Arm of each gene, missing where unknown; such genes, and profiles without a direction, are left out.

    Returns
    -------
    tuple
        A table with a row an arm, and first the arm ``all``: ``probability`` that the cosine of two genes on
        the arm exceeds that of one on it and one on another (0.5: no bias), ``statistic``, two-sided
        ``p_value`` and ``fdr`` (Benjamini-Hochberg over arms), ``genes``, ``pairs_within``,
        ``pairs_between``. And, for intervals, a row an arm of the first number and the sum of the second:
        pairs within, and their shares of all pairs between arms below them. The p-values take pairs for
        independent, which they are not.
    """
    units = unit_vectors(X)
    known = arms.notna().to_numpy() & np.isfinite(units).all(axis=1)
    codes, names = pd.factorize(arms[known], sort=True)
    sizes = np.bincount(codes, minlength=len(names))
    if len(names) < 2 or sizes.max() < MIN_GENES:
        return pd.DataFrame(columns=COLUMNS), np.empty((0, 2))
    units = units[known]
    between = np.empty((len(codes) ** 2 - np.square(sizes).sum()) // 2)
    filled, rows, inside = 0, [], []
    for arm, name in enumerate(names):
        own = codes == arm
        cosine = np.round(units[own] @ units.T, COSINE_DECIMALS)
        later = cosine[:, codes > arm].ravel()
        between[filled : filled + len(later)] = later
        filled += len(later)
        if sizes[arm] >= MIN_GENES:
            inside.append(cosine[:, own][np.triu_indices(sizes[arm], k=1)])
            rows.append(_row(str(name), int(sizes[arm]), inside[-1], np.sort(cosine[:, ~own], axis=None)))
    between.sort()
    overall = _row("all", len(codes), np.concatenate(inside), between)
    placements = [
        (np.searchsorted(between, within, "left") + np.searchsorted(between, within, "right")) / (2 * len(between))
        for within in inside
    ]
    sums = np.array([(len(placement), placement.sum()) for placement in placements])
    table = pd.concat([pd.DataFrame([overall]), with_fdr(pd.DataFrame(rows))], ignore_index=True)
    return table.reindex(columns=COLUMNS), sums


def _row(arm: str, genes: int, within: NDArray, between: NDArray) -> dict[str, object]:
    test = brunner_munzel(within, between)._asdict()
    return {"arm": arm, **test, "genes": genes, "pairs_within": len(within), "pairs_between": len(between)}
