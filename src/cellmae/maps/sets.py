"""Sets of perturbations, such as complexes, on a map: how alike their members are, one set at a time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control

from cellmae.files import write_csv
from cellmae.genes import Aliases, Genes
from cellmae.logging import logger
from cellmae.maps.reading import profiles, read_map, read_scores
from cellmae.maps.recall import MIN_PERTURBATIONS, THRESHOLDS, Thresholds, recalled
from cellmae.maps.relationships import ENTITIES, read_sets
from cellmae.maps.similarity import unit_vectors

FEWEST_MEMBERS = 2
MEAN_DECIMALS = 9
"""Sets of identical profiles have mean cosines that differ in the last bits: rounding makes them ties."""
NO_SETS = "a file of pairs names no sets"
COUNTS = ["listed", "members", "pairs"]
STATISTICS = ["mean_cosine", "p_value", "fdr"]


def recall_sets(
    perturbations: AnnData,
    sets: Mapping[str, pd.DataFrame],
    pairs: pd.DataFrame,
    *,
    thresholds: Thresholds = THRESHOLDS,
    draws: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score each set by the cosines of its members.

    The mean cosine of all pairs of m unit vectors that add up to s is (|s|^2 - m) / (m (m - 1)). It is compared
    with that of random sets of as many perturbations of the map.

    Parameters
    ----------
    perturbations
        The map: one profile a perturbation in ``X``, unique names.
    sets
        By source, as :func:`~cellmae.maps.read_sets` returns them.
    pairs
        Second table of :func:`~cellmae.maps.recall` for the same map and sources.
    thresholds
        Pairs of shares (low, high).
    draws, seed
        Number of random sets of each size, and their seed.

    Returns
    -------
    DataFrame
        A row a set: ``source``, ``set``; members ``listed`` and ``members`` in the map, their ``pairs``; the share
        of pairs recalled at each threshold, such as ``recall_0.05_0.95``; ``mean_cosine`` of members with a
        profile, one-sided ``p_value`` against random sets and ``fdr`` (Benjamini-Hochberg over the sets of a
        source); ``reason`` where it was skipped.
    """
    names = perturbations.obs_names
    units = unit_vectors(profiles(perturbations))
    tables = [_recall_source(source, table, units, names, pairs, thresholds) for source, table in sets.items()]
    columns = ["source", "set", *COUNTS, *(_column(*tails) for tails in thresholds), *STATISTICS, "reason"]
    if not tables:
        return pd.DataFrame(columns=columns)
    table = pd.concat(tables, ignore_index=True)
    defined = units[~np.isnan(units).any(axis=1)]
    scored = table["mean_cosine"].notna()
    table.loc[scored, "p_value"] = _p_values(table[scored], defined, draws=draws, seed=seed)
    for _, own in table[scored].groupby("source"):
        table.loc[own.index, "fdr"] = false_discovery_control(own["p_value"])
    return table.reindex(columns=columns)


def membership(sets: pd.DataFrame, names: pd.Index) -> tuple[pd.Index, sparse.csr_array]:
    """Return the names of sets, and which perturbations are in them, shape (sets, names)."""
    numbers, labels = pd.factorize(sets["set"])
    members = names.get_indexer(pd.Index(sets["member"]))
    there = members >= 0
    ones = np.ones(there.sum(), dtype=np.int32)
    return pd.Index(labels), sparse.csr_array((ones, (numbers[there], members[there])), shape=(len(labels), len(names)))


def sets_of(relationships: Mapping[str, str | Path], aliases: Aliases | None = None) -> dict[str, pd.DataFrame]:
    """Read the sources that name sets; those that list pairs are left out, and logged."""
    tables = {source: read_sets(path, aliases=aliases) for source, path in relationships.items()}
    for source in [source for source, table in tables.items() if table is None]:
        logger.info("%s: %s", source, NO_SETS)
    return {source: table for source, table in tables.items() if table is not None}


def score_sets(
    perturbations: str | Path,
    relationships: Mapping[str, str | Path],
    *,
    pairs: str | Path,
    output: str | Path,
    thresholds: Thresholds = THRESHOLDS,
    seed: int = 0,
    aliases: str | Path | None = None,
) -> None:
    """Write ``sets.csv`` of a map; without a row where no source names sets.

    Parameters
    ----------
    perturbations
        Map of :func:`~cellmae.maps.build_map`.
    relationships
        Files by name of the source.
    pairs
        ``pairs.parquet`` of :func:`~cellmae.maps.score_recall`.
    output
        File to write.
    thresholds, seed
        As in :func:`recall_sets`.
    aliases
        Table of other names of genes, see :mod:`cellmae.genes`.
    """
    sets = sets_of(relationships, Genes.read(aliases=aliases).aliases)
    table = recall_sets(read_map(perturbations), sets, read_scores(pairs), thresholds=thresholds, seed=seed)
    write_csv(output, table)
    for reason, own in table[table["reason"] != ""].groupby("reason"):
        logger.info("%d of %d sets skipped: %s", len(own), len(table), reason)


def _recall_source(
    source: str, sets: pd.DataFrame, units: NDArray, names: pd.Index, pairs: pd.DataFrame, thresholds: Thresholds
) -> pd.DataFrame:
    labels, belongs = membership(sets, names)
    members = belongs.sum(axis=1)
    table = pd.DataFrame({"source": source, "set": labels, "members": members, "pairs": members * (members - 1) // 2})
    table["listed"] = sets.groupby("set", sort=False).size().to_numpy()
    table["mean_cosine"], table["_profiles"] = _mean_cosines(belongs, units)
    table["reason"] = _reasons(table, len(names))
    skipped = table["reason"] != ""
    table.loc[skipped, "mean_cosine"] = np.nan
    known = pairs[pairs["source"] == source]
    first, second = (names.get_indexer(pd.Index(known[entity])) for entity in ENTITIES)
    for low, high in thresholds:
        hits = sparse.csr_array((recalled(known, low, high).astype(np.int32), (first, second)), shape=(len(names),) * 2)
        counted = ((belongs @ hits) * belongs).sum(axis=1)
        table[_column(low, high)] = counted / table["pairs"].where((table["pairs"] > 0) & (len(known) > 0))
    return table


def _reasons(table: pd.DataFrame, map_size: int) -> NDArray[np.object_]:
    if map_size < MIN_PERTURBATIONS:
        few = f"{map_size} perturbations in the map, of at least {MIN_PERTURBATIONS}"
        return np.full(len(table), few, dtype=object)
    absent = f"fewer than {FEWEST_MEMBERS} members in the map"
    flat = f"fewer than {FEWEST_MEMBERS} members with a profile that has a direction"
    return np.select([table["members"] < FEWEST_MEMBERS, table["_profiles"] < FEWEST_MEMBERS], [absent, flat], "")


def _mean_cosines(belongs: sparse.csr_array, units: NDArray) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the mean cosine of each set, and how many of its members have a direction."""
    defined = ~np.isnan(units).any(axis=1)
    own = belongs[:, defined]
    count = own.sum(axis=1)
    return _means(np.square(own @ units[defined]).sum(axis=1), count), count


def _means(squares: NDArray, count: NDArray) -> NDArray[np.float64]:
    pairs = count * (count - 1)
    return np.round(np.divide(squares - count, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0), MEAN_DECIMALS)


def _p_values(table: pd.DataFrame, units: NDArray, *, draws: int, seed: int) -> NDArray[np.float64]:
    """Return the share of random sets of the same size that are at least as alike, with one added to both counts.

    The first m of one random order are a random set of size m: an order serves all sizes.
    """
    generator = np.random.default_rng(seed)
    sizes, number = np.unique(table["_profiles"], return_inverse=True)
    if not len(sizes):
        return np.empty(0)
    random = np.empty((draws, len(sizes)))
    for draw in range(draws):
        order = generator.choice(len(units), sizes[-1], replace=False)
        sums = np.cumsum(units[order], axis=0)[sizes - 1]
        random[draw] = np.einsum("sd,sd->s", sums, sums)
    random = np.sort(_means(random, np.broadcast_to(sizes, random.shape)), axis=0)
    below = [np.searchsorted(random[:, size], value) for size, value in zip(number, table["mean_cosine"], strict=True)]
    return (1 + draws - np.array(below)) / (1 + draws)


def _column(low: float, high: float) -> str:
    return f"recall_{low:g}_{high:g}"
