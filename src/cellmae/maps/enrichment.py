"""Enrichment of neighbourhoods and clusters of a map in known sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from cellmae.files import write_csv
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.maps.reading import profiles, read_map
from cellmae.maps.recall import MIN_PERTURBATIONS
from cellmae.maps.sets import FEWEST_MEMBERS, membership, sets_of
from cellmae.maps.similarity import cosine_rows, unit_vectors

NEIGHBOURS = 20
KINDS = NEIGHBOURHOOD, CLUSTER = "neighbourhood", "cluster"
DISTINCT_DECIMALS = 9
COLUMNS = [
    "kind", "name", "source", "set", "size", "set_members", "overlap", "expected", "fold", "p_value", "fdr", "members",
]  # fmt: skip
COUNT_COLUMNS = ["kind", "source", "groups", "sets", "tests", "enriched", "reason"]


def enrich(
    perturbations: AnnData,
    sets: Mapping[str, pd.DataFrame],
    *,
    neighbours: int = NEIGHBOURS,
    clusters: int | None = None,
    labels: pd.Series | None = None,
    fdr: float = 0.05,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test which sets the neighbourhoods and the clusters of a map are rich in.

    Of N perturbations with a profile, K are in a set and n in a group; that at least x are in both has the
    hypergeometric probability p. A neighbourhood holds the perturbations of the largest cosine with one, which
    counts neither in it nor in N and K. Perturbations that tie at the edge of a neighbourhood are left out of it.

    Parameters
    ----------
    perturbations
        The map: one profile a perturbation in ``X``, unique names.
    sets
        By source, as :func:`~cellmae.maps.read_sets` returns them; those with at least two members in the map are
        tested.
    neighbours
        Size of a neighbourhood.
    clusters
        Number of clusters, found by k-means of the unit vectors; by default as many as there are neighbourhoods
        that do not overlap.
    labels
        Cluster by perturbation, such as ``adata.obs["leiden"]``, instead. Without a label: in no cluster.
    fdr
        Largest false discovery rate that is kept.
    seed
        Of k-means.

    Returns
    -------
    tuple
        Two tables. The first has a row a group and set that is enriched: ``kind`` (``neighbourhood``,
        ``cluster``), ``name`` of the perturbation or cluster, ``source``, ``set``; the ``size`` of the group
        (n), ``set_members`` in the map (K), the ``overlap`` (x), what is ``expected`` (n K / N) and the ``fold``
        above it; ``p_value`` and ``fdr`` (Benjamini-Hochberg over all tests of the kind); the ``members`` in
        both, separated by spaces. The second has a row a kind and source: how many ``groups``, ``sets`` and
        ``tests`` there were, how many were ``enriched``, and a ``reason`` where nothing was tested.
    """
    units = unit_vectors(profiles(perturbations))
    defined = ~np.isnan(units).any(axis=1)
    names, units = perturbations.obs_names[defined], units[defined]
    belonging = {source: _testable(table, names) for source, table in sets.items()}
    reason = _reason_to_skip(len(names), belonging)
    if reason:
        logger.warning("enrichment skipped: %s", reason)
        rows = [{"kind": kind, "source": source, "reason": reason} for kind in KINDS for source in sets or ["none"]]
        return pd.DataFrame(columns=COLUMNS), pd.DataFrame(rows, columns=COUNT_COLUMNS)
    if labels is None:
        labels = cluster(units, names, clusters or max(2, len(names) // neighbours), seed=seed)
    groups = {NEIGHBOURHOOD: Groups(names, neighbourhoods(units, neighbours)), CLUSTER: _grouped(labels, names)}
    tested = [_test(kind, groups[kind], belonging, names, fdr=fdr) for kind in KINDS]
    found = [table for table, _ in tested if len(table)] or [pd.DataFrame(columns=COLUMNS)]
    return pd.concat(found, ignore_index=True)[COLUMNS], pd.concat([counts for _, counts in tested], ignore_index=True)


def neighbourhoods(units: NDArray, size: int) -> sparse.csr_array:
    """Return which perturbations are the nearest of each, shape (perturbations, perturbations).

    Parameters
    ----------
    units
        Shape (perturbations, dimensions), all defined.
    size
        Neighbours of each; fewer where some tie at the edge, which are left out, so that their order in the map
        does not matter.
    """
    total = len(units)
    size = min(size, total - 2)
    rows, columns = [], []
    for start, cosines in cosine_rows(units):
        numbers = np.arange(len(cosines))
        cosines[numbers, start + numbers] = -np.inf
        edge = np.partition(cosines, total - size - 1, axis=1)[:, total - size - 1]
        row, column = np.nonzero(cosines > edge[:, None])
        rows.append(row + start)
        columns.append(column)
    indices = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.ones(len(indices[0]), dtype=np.int32), indices), shape=(total, total))


def cluster(units: NDArray, names: pd.Index, number: int, *, seed: int = 0) -> pd.Series:
    """Return a cluster by perturbation: k-means of the unit vectors, in one thread so that it repeats exactly."""
    distinct = len(np.unique(np.round(units, DISTINCT_DECIMALS), axis=0))
    with threadpool_limits(limits=1):
        labels = KMeans(min(number, distinct), n_init=1, random_state=seed).fit_predict(units)
    return pd.Series(labels, index=names)


def score_enrichment(
    perturbations: str | Path,
    relationships: Mapping[str, str | Path],
    *,
    output: str | Path,
    counts: str | Path,
    neighbours: int = NEIGHBOURS,
    clusters: int | None = None,
    fdr: float = 0.05,
    seed: int = 0,
    aliases: str | Path | None = None,
) -> None:
    """Write ``enrichment.csv`` and ``enrichment_counts.csv`` of a map.

    Parameters
    ----------
    perturbations
        Map of :func:`~cellmae.maps.build_map`.
    relationships
        Files by name of the source.
    output, counts
        Files to write: what is enriched, and how much was tested.
    neighbours, clusters, fdr, seed
        As in :func:`enrich`.
    aliases
        Table of other names of genes, see :mod:`cellmae.genes`.
    """
    sets = sets_of(relationships, Genes.read(aliases=aliases).aliases)
    tables = enrich(read_map(perturbations), sets, neighbours=neighbours, clusters=clusters, fdr=fdr, seed=seed)
    for path, table in zip((output, counts), tables, strict=True):
        write_csv(path, table)
    for row in tables[1].dropna(subset="tests").itertuples():
        logger.info("enrichment of %ss in %s: %d of %d tests", row.kind, row.source, row.enriched, row.tests)


class Groups(NamedTuple):
    """Groups of perturbations: their names, and who is in them, shape (groups, perturbations)."""

    names: pd.Index
    members: sparse.csr_array


def _testable(sets: pd.DataFrame, names: pd.Index) -> Groups:
    labels, members = membership(sets, names)
    enough = members.sum(axis=1) >= FEWEST_MEMBERS
    return Groups(labels[enough], members[enough])


def _grouped(labels: pd.Series, names: pd.Index) -> Groups:
    labels = labels.reindex(names).dropna().astype(str)
    found, members = membership(pd.DataFrame({"set": labels.to_numpy(), "member": labels.index}), names)
    return Groups(found, members)


def _reason_to_skip(defined: int, belonging: Mapping[str, Groups]) -> str:
    if defined < MIN_PERTURBATIONS:
        return f"{defined} perturbations with a profile, of at least {MIN_PERTURBATIONS}"
    if not belonging:
        return "no source names sets"
    tested = any(len(sets.names) for sets in belonging.values())
    return "" if tested else f"no set has {FEWEST_MEMBERS} members in the map"


def _test(
    kind: str, groups: Groups, belonging: Mapping[str, Groups], names: pd.Index, *, fdr: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test all groups of a kind in all sets; return what is enriched, and the counts."""
    filled = int((groups.members.sum(axis=1) > 0).sum())
    counts = [
        {"kind": kind, "source": source, "groups": filled, "sets": len(sets.names), "tests": filled * len(sets.names)}
        for source, sets in belonging.items()
    ]
    table = pd.concat(
        [
            _overlaps(groups, sets, itself=kind == NEIGHBOURHOOD).assign(source=source)
            for source, sets in belonging.items()
        ],
        ignore_index=True,
    )
    table["fdr"] = _false_discovery(
        table["p_value"].to_numpy(), filled * sum(len(sets.names) for sets in belonging.values())
    )
    table = table[table["fdr"] <= fdr].sort_values(["p_value", "group", "number"], ignore_index=True)
    enriched = table["source"].value_counts()
    return _named(table.assign(kind=kind), groups, belonging, names), pd.DataFrame(counts).assign(
        enriched=[int(enriched.get(source, 0)) for source in belonging], reason=""
    )


def _overlaps(groups: Groups, sets: Groups, *, itself: bool) -> pd.DataFrame:
    """Test each group and set that overlap.

    ``itself``: a group is that of the perturbation of its number, which is not counted.
    """
    overlap = (groups.members @ sets.members.T).tocoo()
    group, number = overlap.coords
    inside = sets.members.T.tocsr()[group, number] if itself else np.zeros(len(group), dtype=int)
    population = groups.members.shape[1] - itself
    set_members = sets.members.sum(axis=1)[number] - np.asarray(inside).ravel()
    size = groups.members.sum(axis=1)[group]
    expected = size * set_members / population
    return pd.DataFrame(
        {
            "group": group,
            "number": number,
            "size": size,
            "set_members": set_members,
            "overlap": overlap.data,
            "expected": expected,
            "fold": overlap.data / expected,
            "p_value": hypergeom.sf(overlap.data - 1, population, set_members, size),
        }
    )


def _false_discovery(p_values: NDArray, tests: int) -> NDArray[np.float64]:
    """Adjust by Benjamini and Hochberg where all other tests, up to their number, have p = 1."""
    return np.minimum(1, false_discovery_control(p_values) * (tests / max(len(p_values), 1)))


def _named(table: pd.DataFrame, groups: Groups, belonging: Mapping[str, Groups], names: pd.Index) -> pd.DataFrame:
    rows = list(zip(table["group"], table["source"], table["number"], strict=True))
    both = [
        np.intersect1d(_row(groups.members, group), _row(belonging[source].members, number))
        for group, source, number in rows
    ]
    return table.assign(
        name=groups.names[table["group"]],
        set=[belonging[source].names[number] for _, source, number in rows],
        members=[" ".join(names[numbers]) for numbers in both],
    )


def _row(matrix: sparse.csr_array, number: int) -> NDArray[np.intp]:
    return matrix.indices[matrix.indptr[number] : matrix.indptr[number + 1]]
