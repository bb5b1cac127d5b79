"""The map as an embedding to explore: perturbations in the plane, their clusters, neighbours and known partners."""

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
import vl_convert
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import ward_tree

from cellmae.maps.similarity import cosine_rows
from cellmae.report.blocks import Block, Explorer, Plot, Table, Text
from cellmae.report.style import COLOURS, new_figure
from cellmae.report.words import listed, quantity

FEWEST_LAID_OUT = 20
NEIGHBOURS_OF_LAYOUT = 15
NEIGHBOURS_SHOWN = 8
PARTNERS_SHOWN = 12
MOST_LEVELS = 60
GRID_OF_PLACES = 10_000  # places are whole numbers up to this one, cosines thousandths: a page of 17,000 stays small
DIGITS = 4


def lay_out(units: NDArray, *, seed: int) -> NDArray[np.float64]:
    """Lay perturbations out by UMAP of cosine distances (McInnes et al. 2018, arXiv 1802.03426), with scanpy.

    Parameters
    ----------
    units
        Profiles of length one, shape (perturbations, dimensions).

    Returns
    -------
    numpy.ndarray
        Coordinates between 0 and 1, the same scale for both, shape (perturbations, 2).
    """
    adata = anndata.AnnData(np.asarray(units, dtype=np.float32))
    neighbours = min(NEIGHBOURS_OF_LAYOUT, len(units) - 1)
    sc.pp.neighbors(adata, n_neighbors=neighbours, use_rep="X", metric="cosine", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    places = np.asarray(adata.obsm["X_umap"], dtype=np.float64)
    places -= places.min(axis=0)
    return places / max(places.max(), np.finfo(np.float64).tiny)


def cluster(units: NDArray, neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group perturbations by Ward's method on profiles of length one, along their nearest neighbours.

    There are about as many clusters as the square root of the number of perturbations.

    Parameters
    ----------
    units
        Profiles of length one, shape (perturbations, dimensions).
    neighbours
        Indices of the nearest ones of each, shape (perturbations, neighbours).

    Returns
    -------
    numpy.ndarray
        Number of the cluster of each, from 1, the largest first.
    """
    count, clusters = len(units), round(np.sqrt(len(units)))
    starts = np.arange(0, neighbours.size + 1, neighbours.shape[1])
    near = csr_matrix((np.ones(neighbours.size), neighbours.ravel(), starts), shape=(count, count))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the number of connected components")  # it joins islands by itself
        children = ward_tree(units, connectivity=near + near.T)[0][: count - clusters]
    merged = np.repeat(np.arange(count, count + len(children)), 2)
    shape = (count + len(children),) * 2
    tree = csr_matrix((np.ones(len(merged)), (merged, children.ravel())), shape=shape)
    labels = connected_components(tree, directed=False)[1][:count]
    _, first, labels, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(1, len(sizes) + 1)
    return rank[labels]


def nearest(units: NDArray, *, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the perturbations of highest cosine to each, itself left out, without holding all pairs at once.

    Returns
    -------
    indices, cosines
        Shape (perturbations, count), the nearest first.
    """
    count = min(count, len(units) - 1)
    indices = np.empty((len(units), count), dtype=np.int64)
    values = np.empty((len(units), count))
    for start, cosines in cosine_rows(units):
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        indices[start + rows] = best = np.take_along_axis(best, order, axis=1)
        values[start + rows] = np.take_along_axis(cosines, best, axis=1)
    return indices, values


def known_partners(names: pd.Index, units: NDArray, pairs: pd.DataFrame) -> pd.DataFrame:
    """List whom each perturbation is known to work with, from either end of a pair, the highest cosine first.

    Parameters
    ----------
    names
        Perturbations.
    units
        Profiles of length one, shape (perturbations, dimensions).
    pairs
        ``source``, ``entity1``, ``entity2``.

    Returns
    -------
    pandas.DataFrame
        ``index`` and ``partner`` (places in ``names``), ``sources`` (as a phrase), ``cosine``.
    """
    ends = pd.DataFrame(
        {
            "index": np.append(
                names.get_indexer(pd.Index(pairs["entity1"])), names.get_indexer(pd.Index(pairs["entity2"]))
            ),
            "partner": np.append(
                names.get_indexer(pd.Index(pairs["entity2"])), names.get_indexer(pd.Index(pairs["entity1"]))
            ),
            "source": np.tile(pairs["source"].astype(str), 2),
        }
    )
    ends = ends[(ends["index"] >= 0) & (ends["partner"] >= 0) & (ends["index"] != ends["partner"])]
    joined = ends.groupby(["index", "partner"])["source"].agg(lambda found: ", ".join(sorted(set(found))))
    table = joined.rename("sources").reset_index()
    table["cosine"] = np.einsum("ij,ij->i", units[table["index"]], units[table["partner"]])
    return table.sort_values(["index", "cosine", "partner"], ascending=[True, False, True], ignore_index=True)


def describing_columns(obs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the columns of ``obs`` that tell perturbations apart, as ``explorer.js`` reads them.

    Columns of numbers are rounded; of texts only those with few values are taken, and none that is all the same.
    """
    columns: list[dict[str, Any]] = []
    for name in obs:
        values = obs[name]
        if values.nunique() < 2:
            continue
        if is_numeric_dtype(values) and not is_bool_dtype(values):
            numbers = [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.astype(float)]
            columns.append({"name": str(name).replace("_", " "), "kind": "numbers", "values": numbers})
        elif values.nunique() <= MOST_LEVELS:
            codes, found = pd.factorize(values, sort=True)
            levels = [str(level) for level in found]
            columns.append(
                {"name": str(name).replace("_", " "), "kind": "levels", "levels": levels, "values": codes.tolist()}
            )
    return columns


def explorer_blocks(
    units: pd.DataFrame, obs: pd.DataFrame, pairs: pd.DataFrame, *, label: str, seed: int
) -> list[Block]:
    """Show a map as an embedding to explore, and as a table; say so where there are too few perturbations.

    Parameters
    ----------
    units
        Profiles of length one, a row a perturbation.
    obs
        What is known of the perturbations, same index.
    pairs
        Known relationships: ``source``, ``entity1``, ``entity2``.
    label
        Name of the map, for readers who cannot see it.
    """
    if len(units) < FEWEST_LAID_OUT:
        few = f"An embedding needs {FEWEST_LAID_OUT} perturbations with a profile, so none is drawn."
        return [Text([few])]
    vectors = units.to_numpy(dtype=np.float64)
    indices, cosines = nearest(vectors, count=NEIGHBOURS_OF_LAYOUT)
    places, clusters = lay_out(vectors, seed=seed), cluster(vectors, indices)
    indices, cosines = indices[:, :NEIGHBOURS_SHOWN], cosines[:, :NEIGHBOURS_SHOWN]
    partners = known_partners(units.index, vectors, pairs)
    names = [str(name) for name in units.index]
    described = [
        {"name": "cluster", "kind": "levels", "levels": [str(n + 1) for n in range(clusters.max())]}
        | {"values": (clusters - 1).tolist()},
        *describing_columns(obs),
    ]
    data = {
        "names": names,
        "places": np.rint(GRID_OF_PLACES * places).astype(int).tolist(),
        "neighbours": indices.tolist(),
        "cosines": _thousandths(cosines),
        **_partner_lists(partners, len(names)),
        "columns": described,
    }
    alt = (
        f"UMAP of {quantity(len(names), 'perturbation')}, {label}, in {quantity(int(clusters.max()), 'cluster')}. "
        "The table below lists each with its cluster, its neighbours and its known partners."
    )
    caption = (
        "Perturbations with alike phenotypes lie close together (UMAP of cosine distances, in which the distance of "
        "far groups means nothing). Clusters: Ward's method on the full profiles. Neighbours are the highest cosines "
        "in the full space, not the closest points in the plane; solid lines lead to them, dashed ones to known "
        "partners."
    )
    still = Plot("map-embedding", embedding_figure(places, clusters), alt)
    table = _table(names, places, clusters, indices, partners)
    return [Explorer("map-embedding", data, still, caption), table]


def embedding_figure(places: NDArray, clusters: NDArray) -> Figure:
    """Draw the embedding with its clusters in colours, which repeat after seven.

    Parameters
    ----------
    places
        Shape (perturbations, 2).
    clusters
        Number of each one's cluster, from 1.
    """
    figure, (axes,) = new_figure(6.4, 6.0)
    area = float(np.clip(9000 / len(places), 3, 40))
    colours = [COLOURS[(number - 1) % len(COLOURS)] for number in clusters]
    axes.scatter(places[:, 0], places[:, 1], s=area, c=colours, linewidths=0, alpha=0.85, rasterized=len(places) > 2000)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    return figure


@cache
def explorer_library() -> str:
    """Return Vega and vega-embed (BSD-3-Clause) as one script that makes ``vegaEmbed`` known."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _thousandths(values: NDArray) -> list[Any]:
    return np.rint(1000 * values).astype(int).tolist()


def _partner_lists(partners: pd.DataFrame, count: int) -> Mapping[str, Any]:
    """Return for each perturbation its first partners as flat lists of (index, sources, thousandths), and how many."""
    codes, sources = pd.factorize(partners["sources"], sort=True)
    rows = pd.DataFrame(
        {"index": partners["index"], "partner": partners["partner"], "source": codes}
        | {"cosine": np.rint(1000 * partners["cosine"]).astype(int)}
    )
    lists: list[list[int]] = [[] for _ in range(count)]
    shown = rows.groupby("index").head(PARTNERS_SHOWN)
    for index, *values in shown.itertuples(index=False, name=None):
        lists[index] += values
    totals = np.bincount(rows["index"], minlength=count)
    return {"sources": [str(source) for source in sources], "partners": lists, "partnerCounts": totals.tolist()}


def _table(names: list[str], places: NDArray, clusters: NDArray, indices: NDArray, partners: pd.DataFrame) -> Table:
    known = partners.assign(name=[names[place] for place in partners["partner"]]).groupby("index")["name"].agg(list)
    frame = pd.DataFrame(
        {
            "perturbation": names,
            "x": places[:, 0].round(5),
            "y": places[:, 1].round(5),
            "cluster": clusters,
            "neighbours": ["; ".join(names[place] for place in row) for row in indices],
            "known_partners": ["; ".join(known.get(place, [])) for place in range(len(names))],
        }
    )
    shown = pd.DataFrame(
        {
            "Perturbation": names,
            "Cluster": clusters,
            "Nearest neighbours": [listed([names[place] for place in row]) for row in indices],
            "Known partners": [listed(known.get(place, []), limit=8) or None for place in range(len(names))],
        }
    ).sort_values(["Cluster", "Perturbation"])
    caption = "The embedding as a table: cluster, nearest neighbours and known partners of every perturbation."
    return Table("map-embedding", frame, shown, caption, {"Cluster": "{:,}"})
