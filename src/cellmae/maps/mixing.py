"""Batch mixing: the share of a well's nearest neighbours that come from its own batch."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from cellmae.maps.similarity import unit_vectors

NEIGHBOURS = 15
LISI_NEIGHBOURS = 90
"""Neighbours that LISI weighs, the usual three times its perplexity of 30."""


def batch_purity(X: NDArray, batches: pd.Series, *, neighbours: int = NEIGHBOURS) -> pd.DataFrame:
    """Return for each well the share of its nearest neighbours, by cosine, of its own batch.

    Ties are shared out: neighbours as near as the last one count with equal parts of the places left, so that
    wells which are all alike mix as chance would have it.

    Parameters
    ----------
    X
        Shape (wells, dimensions), each well with a direction.
    batches
        Batch of each well.
    neighbours
        At most; fewer where there are fewer wells.

    Returns
    -------
    DataFrame
        A row a well: ``purity``, ``chance`` (the share of its batch among the other wells), ``batch``.
    """
    units = unit_vectors(X)
    codes, names = pd.factorize(batches)
    sizes = np.bincount(codes, minlength=len(names))
    purity = np.empty(len(X))
    k = min(neighbours, len(X) - 1)
    for start in range(0, len(X), 1000):
        rows = np.arange(start, min(start + 1000, len(X)))
        cosine = np.round(units[rows] @ units.T, 12)
        cosine[np.arange(len(rows)), rows] = -np.inf
        last = np.partition(cosine, -k, axis=1)[:, -k, None]
        own = codes[rows, None] == codes
        nearer, tied = cosine > last, cosine == last
        places = k - nearer.sum(axis=1)
        purity[rows] = ((nearer & own).sum(axis=1) + places * (tied & own).sum(axis=1) / tied.sum(axis=1)) / k
    return pd.DataFrame({"purity": purity, "chance": (sizes[codes] - 1) / (len(X) - 1), "batch": np.asarray(batches)})


def ilisi(X: NDArray, batches: pd.Series) -> float | None:
    """Return scib-metrics' iLISI of neighbourhoods by cosine: 0 for unmixed batches, 1 for evenly mixed ones.

    Korsunsky et al. 2019, *Fast, sensitive and accurate integration of single-cell data with Harmony* (Nature
    Methods 16). None where scib-metrics is not installed.

    Parameters
    ----------
    X
        Shape (wells, dimensions), each well with a direction.
    batches
        Batch of each well.
    """
    if find_spec("scib_metrics") is None:
        return None
    from scib_metrics import ilisi_knn
    from scib_metrics.nearest_neighbors import NeighborsResults

    search = NearestNeighbors(n_neighbors=min(LISI_NEIGHBOURS, len(X)), metric="cosine").fit(X)
    distances, indices = search.kneighbors(X)
    return float(ilisi_knn(NeighborsResults(indices=indices, distances=distances), np.asarray(batches)))
