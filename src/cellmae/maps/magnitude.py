"""Magnitude: the energy distance of a perturbation's wells from the negative controls."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.maps.average_precision import with_fdr
from cellmae.maps.groups import Groups, random_sets

MOST_CONTROLS = 1000
"""Controls that wells are compared with, as in ``pert_signal_magnitude_benchmark`` of EFAAR_benchmarking."""
ROUNDING = 1e-9
SAME_POINT = 1e-12
"""Squared distances below this share of the squared lengths are rounding noise."""
ROWS_AT_ONCE = 10_000
NULL_DISTANCES = 20_000_000
"""Distances behind one null distribution; large groups get fewer draws, at least :data:`FEWEST_DRAWS`."""
FEWEST_DRAWS = 999
COLUMNS = ["magnitude", "p_value", "fdr", "wells"]


def score_magnitude(
    X: NDArray,
    groups: Groups,
    controls: NDArray[np.intp],
    *,
    most_controls: int = MOST_CONTROLS,
    draws: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Score how far the wells of each perturbation lie from the negative controls.

    The energy distance (Székely and Rizzo 2013, *Energy Statistics*, J. Stat. Plan. Inference 143) in its
    unbiased form, which is zero on average where there is no effect:

    .. math:: 2 \overline{|x - c|} - \overline{|x - x'|} - \overline{|c - c'|}

    with means over wells x and controls c, and over pairs of different wells and of different controls. The
    null takes sets of as many controls against the remaining ones.

    Parameters
    ----------
    X
        Shape (wells, dimensions), finite.
    groups
        The perturbation of each well.
    controls
        Rows of the negative controls.
    most_controls
        Controls drawn at random where there are more.
    draws, seed
        Of the null distribution of each number of wells, and of the controls.

    Returns
    -------
    DataFrame
        By perturbation: ``magnitude`` in the units of ``X``, ``p_value`` (one added to both), ``fdr``
        (Benjamini-Hochberg), ``wells``. NaN below two wells or two controls; no p-value where there are
        fewer controls than wells and two.
    """
    table = pd.DataFrame({"wells": groups.counts}, index=groups.names).reindex(columns=COLUMNS)
    if len(controls) < 2:
        return table
    generator = np.random.default_rng(seed)
    if len(controls) > most_controls:
        controls = np.sort(generator.choice(controls, most_controls, replace=False))
    reference = np.asarray(X[controls], dtype=np.float64)
    among = distances(reference, reference)
    count = len(controls)
    spread = among.sum() / (count * (count - 1))
    for own, rows in groups.stacks(fewest=2, rows_at_once=ROWS_AT_ONCE):
        size = rows.shape[1]
        wells = np.asarray(X[rows], dtype=np.float64)
        away = distances(wells.reshape(-1, X.shape[1]), reference).mean(axis=1).reshape(rows.shape).mean(axis=1)
        within = distances(wells, wells).sum(axis=(1, 2)) / (size * (size - 1))
        table.iloc[own, 0] = 2 * away - within - spread
    for size in np.unique(groups.counts[groups.counts > 1]):
        if count >= size + 2:
            null = np.sort(_null(among, int(size), draws=draws, seed=seed))
            own = np.flatnonzero(groups.counts == size)
            reached = len(null) - np.searchsorted(null, table["magnitude"].to_numpy()[own] - ROUNDING * max(spread, 1))
            table.iloc[own, 1] = (1 + reached) / (1 + len(null))
    return with_fdr(table)


def distances(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Euclidean distances of rows, shape (..., rows of A, rows of B); exactly zero for the same point."""
    lengths = np.square(A).sum(axis=-1)[..., :, None] + np.square(B).sum(axis=-1)[..., None, :]
    squared = lengths - 2 * A @ np.swapaxes(B, -1, -2)
    return np.sqrt(np.where(squared > SAME_POINT * lengths, squared, 0))


def _null(among: NDArray[np.float64], size: int, *, draws: int, seed: int) -> NDArray[np.float64]:
    """Return energy distances of sets of controls from the remaining ones, shape (draws,)."""
    count = len(among)
    draws = min(draws, max(FEWEST_DRAWS, NULL_DISTANCES // size**2))
    sets = random_sets(np.random.default_rng([seed, size]), count, size, draws)
    rows = among.sum(axis=1)
    outward = rows[sets].sum(axis=1)
    inside = np.concatenate(
        [
            among[some[:, :, None], some[:, None, :]].sum(axis=(1, 2))
            for some in np.array_split(sets, -(-draws * size**2 // 2_000_000))
        ]
    )
    rest = count - size
    across = (outward - inside) / (size * rest)
    within = inside / (size * (size - 1))
    remaining = (rows.sum() - 2 * outward + inside) / (rest * (rest - 1))
    return 2 * across - within - remaining
