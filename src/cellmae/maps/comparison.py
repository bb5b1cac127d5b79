"""Paired comparison of models on the same known pairs and the same perturbations."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.files import read_manifest, write_csv
from cellmae.logging import logger
from cellmae.maps.bootstrap import interval, p_value, resampled_shares
from cellmae.maps.probe import resampled_r2
from cellmae.maps.reading import read_scores
from cellmae.maps.recall import THRESHOLDS, Thresholds, recalled
from cellmae.maps.relationships import ENTITIES

COLUMNS = [
    "score", "source", "low", "high", "model_a", "alignment_a", "model_b", "alignment_b", "value_a", "value_b",
    "difference", "difference_ci_low", "difference_ci_high", "p_value", "pairs", "genes",
]  # fmt: skip


def compare_recalls(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether two maps recall the same known pairs equally well.

    Parameters
    ----------
    a, b
        Pairs of two maps, the second table of :func:`~cellmae.maps.recall`; those in both count.
    thresholds
        Pairs of shares (low, high).
    replicates, seed
        Of the bootstrap over perturbations, drawn alike for both maps.

    Returns
    -------
    DataFrame
        A row a source and threshold: ``value_a``, ``value_b``, ``difference`` (a less b) with its 95 %
        interval and two-sided ``p_value``, and the ``pairs`` and ``genes`` it rests on.
    """
    both = a.merge(b, on=["source", *ENTITIES], suffixes=("_a", "_b"))
    rows = []
    for source, pairs in both.groupby("source", sort=False):
        members = np.unique(pairs[ENTITIES], return_inverse=True)[1].reshape(-1, 2)
        for low, high in thresholds:
            hits = np.stack([recalled(_side(pairs, side), low, high) for side in ("_a", "_b")], axis=1)
            shares = resampled_shares(members, hits, replicates=replicates, seed=seed)
            difference = _difference(hits.mean(axis=0), shares)
            counts = {"pairs": len(pairs), "genes": members.max() + 1}
            rows.append({"score": "recall", "source": source, "low": low, "high": high} | difference | counts)
    return pd.DataFrame(rows)


def compare_probes(a: pd.DataFrame, b: pd.DataFrame, *, replicates: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Test whether a linear probe reads equally much from two representations.

    Parameters
    ----------
    a, b
        Errors by perturbation, the second table of :func:`~cellmae.maps.probe`; perturbations in both count.
    replicates, seed
        Of the bootstrap over perturbations, drawn alike for both.

    Returns
    -------
    DataFrame
        One row like those of :func:`compare_recalls`, of the score ``probe_r2``; none where nothing is shared.
    """
    both = a.merge(b, on="perturbation", suffixes=("_a", "_b"))
    if both.empty:
        return pd.DataFrame()
    sides = [_side(both, side) for side in ("_a", "_b")]
    values = np.array([1 - side["sse"].sum() / side["sst"].sum() for side in sides])
    shares = np.stack([resampled_r2(side, replicates=replicates, seed=seed) for side in sides], axis=1)
    return pd.DataFrame([{"score": "probe_r2", "genes": len(both)} | _difference(values, shares)])


def compare_models(
    maps: Sequence[str | Path],
    *,
    output: str | Path,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> None:
    """Write the comparison of all models with the same alignment, and of all alignments of the same model.

    Parameters
    ----------
    maps
        Folders of maps, each with ``map.json``, ``pairs.parquet`` and, for simulated screens,
        ``probe.parquet``.
    output
        ``comparison.csv`` to write.
    thresholds, replicates, seed
        As in :func:`compare_recalls`.
    """
    options = {"replicates": replicates, "seed": seed}
    tables = [pd.DataFrame(columns=COLUMNS)]
    for a, b, names in _contests([Path(folder) for folder in maps]):
        table = compare_recalls(_read(a, "pairs"), _read(b, "pairs"), thresholds=thresholds, **options)
        tables.append(table.assign(**names))
        if all((folder / "probe.parquet").exists() for folder in (a, b)):
            tables.append(compare_probes(_read(a, "probe"), _read(b, "probe"), **options).assign(**names))
    kept = [table for table in tables if len(table)] or tables[:1]
    table = pd.concat(kept, ignore_index=True).reindex(columns=COLUMNS)
    write_csv(output, table)
    logger.info("%d maps, %d comparisons of scores", len(maps), len(table))


def _contests(folders: Sequence[Path]) -> Iterator[tuple[Path, Path, dict[str, str]]]:
    manifests = {folder: read_manifest(folder / "map.json", stage="maps") for folder in folders}
    for a, b in combinations(folders, 2):
        same = [manifests[a][key] == manifests[b][key] for key in ("model", "alignment")]
        if any(same):
            sides = zip("ab", (a, b), strict=True)
            yield (
                a,
                b,
                {f"{key}_{side}": manifests[folder][key] for side, folder in sides for key in ("model", "alignment")},
            )


def _read(folder: Path, name: str) -> pd.DataFrame:
    return read_scores(folder / f"{name}.parquet")


def _side(both: pd.DataFrame, suffix: str) -> pd.DataFrame:
    return both.filter(regex=f"{suffix}$").rename(columns=lambda column: column.removesuffix(suffix))


def _difference(values: NDArray, replicates: NDArray) -> dict[str, Any]:
    differences = replicates[:, 0] - replicates[:, 1]
    low, high = interval(differences)
    return {
        "value_a": values[0],
        "value_b": values[1],
        "difference": values[0] - values[1],
        "difference_ci_low": low,
        "difference_ci_high": high,
        "p_value": p_value(differences),
    }
