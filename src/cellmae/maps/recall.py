"""Recall of known relationships: how many known pairs lie in the tails of all pairs' similarities."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.errors import ConfigError, DataError
from cellmae.files import atomic_path
from cellmae.logging import logger
from cellmae.maps.bootstrap import interval, resampled_shares
from cellmae.maps.relationships import ENTITIES, read_relationships
from cellmae.maps.similarity import Null, cosine_matrix
from cellmae.maps.truth import oracle, read_truth
from cellmae.screen.listing import listing

MIN_PERTURBATIONS = 20
"""Below it the tails of the null hold too few pairs to mean anything."""
THRESHOLDS = ((0.05, 0.95),)
SCORE_COLUMNS = [
    "source", "low", "high", "recall", "recall_ci_low", "recall_ci_high", "recall_low", "recall_high",
    "chance", "chance_ci_low", "chance_ci_high", "p_value", "pairs", "genes", "map_genes", "reason",
]  # fmt: skip
PAIR_COLUMNS = ["source", *ENTITIES, "cosine", "share_below", "share_at_or_below"]

Thresholds = Sequence[Sequence[float]]


def recall(
    perturbations: AnnData,
    relationships: Mapping[str, pd.DataFrame],
    *,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score a map by the known pairs whose cosine is extreme among all pairs of the map.

    A pair is recalled where at most a share ``low`` of all pairs lies at or below its cosine, or at least a
    share ``high`` strictly below it; ties therefore count against it. The rule is that of
    ``known_relationship_benchmark`` in recursionpharma/EFAAR_benchmarking (Celik et al. 2024, *Building,
    Benchmarking, and Exploring Perturbative Maps of Transcriptional and Morphological Data*, PLOS Comput.
    Biol. 20), with each unordered pair counted once. A pair with a zero or undefined profile is never
    recalled; in the null it has cosine zero.

    Parameters
    ----------
    perturbations
        The map: one profile a perturbation in ``X``, unique names.
    relationships
        Known pairs by name of their source, as :func:`~cellmae.maps.read_relationships` returns them.
    thresholds
        Pairs of shares (low, high).
    replicates
        Of the bootstrap over perturbations and of the permutation of their names; 0 does without.
    seed
        Of both.

    Returns
    -------
    tuple
        Two tables. The first has a row a source and threshold: ``source``, ``low``, ``high``; ``recall``
        with its 95 % interval ``recall_ci_low``, ``recall_ci_high``; the one-sided ``recall_low`` and
        ``recall_high``; ``chance`` (the share of all pairs that would count as recalled) with the 95 % band
        ``chance_ci_low``, ``chance_ci_high`` of the recall with permuted names, and the ``p_value`` of
        exceeding it; the ``pairs`` and ``genes`` it rests on, ``map_genes``; and a ``reason`` where it was
        skipped. The second has a row a source and pair: ``entity1``, ``entity2``, ``cosine``, and the shares
        of all pairs strictly below and at or below it.

    Raises
    ------
    ConfigError
        Thresholds that are no shares in ascending order.
    DataError
        Duplicate names in the map, or sources none of which has a pair in it.
    """
    for low, high in thresholds:
        if not 0 <= low < high <= 1:
            raise ConfigError(f"maps.thresholds: found [{low}, {high}], expected two shares, the lower one first")
    names = perturbations.obs_names
    if not names.is_unique:
        raise DataError(f"the map holds {names[names.duplicated()][0]} more than once: aggregate it first")
    if len(names) < MIN_PERTURBATIONS:
        reason = f"{len(names)} perturbations, of at least {MIN_PERTURBATIONS} that recall needs"
        return _skipped(relationships or ["none"], thresholds, len(names), reason), _pair_table([])
    cosine = cosine_matrix(np.asarray(perturbations.X))
    null = Null.of(cosine)
    extreme = _extreme(cosine, null, thresholds)
    scores, found, mismatches = [], [], []
    for source, known in relationships.items():
        pairs = _members(known, names)
        if len(pairs):
            ranked = _ranked(cosine, null, pairs, names)
            found.append(ranked.assign(source=source))
            score = _score(ranked, pairs, extreme, thresholds, replicates=replicates, seed=seed)
            scores.append(score.assign(source=source, map_genes=len(names), reason=""))
        else:
            mismatches.append(_mismatch(source, known, names))
            scores.append(_skipped([source], thresholds, len(names), mismatches[-1]))
    if mismatches and not found:
        raise DataError("; ".join(mismatches))
    for mismatch in mismatches:
        logger.warning("recall skipped: %s", mismatch)
    if not scores:
        return _skipped(["none"], thresholds, len(names), "no relationship file"), _pair_table([])
    return pd.concat(scores, ignore_index=True)[SCORE_COLUMNS], _pair_table(found)


def recalled(pairs: pd.DataFrame, low: float, high: float) -> NDArray[np.bool_]:
    """Tell which pairs, with the shares of all pairs beside them, count as recalled, shape (pairs,)."""
    return (_in_low_tail(pairs, low) | _in_high_tail(pairs, high)).to_numpy()


def score_recall(
    perturbations: str | Path,
    relationships: Mapping[str, str | Path],
    *,
    output: str | Path,
    pairs: str | Path,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
    truth: str | Path | None = None,
) -> None:
    """Write ``recall.csv`` and ``pairs.parquet`` of a map.

    Parameters
    ----------
    perturbations
        Map of :func:`~cellmae.maps.build_map`.
    relationships
        Files by name of the source.
    output, pairs
        Files to write.
    thresholds, replicates, seed
        As in :func:`recall`.
    truth
        True phenotypes of a simulated screen: adds the column ``oracle``, the recall that they reach.
    """
    adata = anndata.read_h5ad(perturbations)
    known = {source: read_relationships(path) for source, path in relationships.items()}
    scores, found = recall(adata, known, thresholds=thresholds, replicates=replicates, seed=seed)
    if truth is not None:
        best, _ = recall(oracle(read_truth(truth), adata.obs_names), known, thresholds=thresholds, replicates=0)
        scores["oracle"] = best["recall"]
    with atomic_path(output) as partial:
        scores.to_csv(partial, index=False)
    with atomic_path(pairs) as partial:
        found.to_parquet(partial, index=False)
    for row in scores.itertuples():
        logger.info(
            "recall of %s at %g/%g: %.3f (%.3f to %.3f), chance %.3f, %d pairs",
            row.source, row.low, row.high, row.recall, row.recall_ci_low, row.recall_ci_high, row.chance, row.pairs,
        )  # fmt: skip


def _members(known: pd.DataFrame, names: pd.Index) -> NDArray[np.intp]:
    """Return the numbers of both members of each pair that has both in the map, shape (pairs, 2)."""
    numbers = np.stack([names.get_indexer(pd.Index(known[entity])) for entity in ENTITIES], axis=1)
    return numbers[(numbers >= 0).all(axis=1)]


def _score(
    ranked: pd.DataFrame,
    pairs: NDArray[np.intp],
    extreme: NDArray[np.bool_],
    thresholds: Thresholds,
    *,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    hits = np.stack([recalled(ranked, low, high) for low, high in thresholds], axis=1)
    resampled = resampled_shares(pairs, hits, replicates=replicates, seed=seed)
    permuted = _permuted_shares(extreme, pairs, replicates=replicates, seed=seed)
    upper = np.triu_indices(extreme.shape[1], k=1)
    rows = []
    for number, (low, high) in enumerate(thresholds):
        value = hits[:, number].mean()
        recall_low, recall_high = interval(resampled[:, number])
        chance_low, chance_high = interval(permuted[:, number])
        rows.append(
            {
                "low": low,
                "high": high,
                "recall": value,
                "recall_ci_low": recall_low,
                "recall_ci_high": recall_high,
                "recall_low": _in_low_tail(ranked, low).mean(),
                "recall_high": _in_high_tail(ranked, high).mean(),
                "chance": extreme[number][upper].mean(),
                "chance_ci_low": chance_low,
                "chance_ci_high": chance_high,
                "p_value": (1 + np.count_nonzero(permuted[:, number] >= value)) / (1 + replicates),
                "pairs": len(pairs),
                "genes": len(np.unique(pairs)),
            }
        )
    return pd.DataFrame(rows)


def _extreme(cosine: NDArray, null: Null, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Tell for all pairs of the map whether they would count as recalled, shape (thresholds, names, names)."""
    bounds = [null.bounds(low, high) for low, high in thresholds]
    return np.stack([(cosine < lower) | (cosine > upper) for lower, upper in bounds])


def _permuted_shares(
    extreme: NDArray[np.bool_], pairs: NDArray[np.intp], *, replicates: int, seed: int
) -> NDArray[np.float64]:
    """Return the recall of the known pairs under permuted names, shape (replicates, thresholds)."""
    generator = np.random.default_rng(seed)
    shares = np.empty((replicates, len(extreme)))
    for replicate in range(replicates):
        first, second = generator.permutation(extreme.shape[1])[pairs.T]
        shares[replicate] = extreme[:, first, second].mean(axis=1)
    return shares


def _in_low_tail(pairs: pd.DataFrame, low: float) -> pd.Series:
    return pairs["share_at_or_below"] <= low


def _in_high_tail(pairs: pd.DataFrame, high: float) -> pd.Series:
    return pairs["share_below"] >= high


def _ranked(cosine: NDArray, null: Null, pairs: NDArray, names: pd.Index) -> pd.DataFrame:
    first, second = pairs.T
    cosines = cosine[first, second]
    return pd.DataFrame(
        {
            "entity1": names[first],
            "entity2": names[second],
            "cosine": cosines,
            "share_below": null.share_below(cosines),
            "share_at_or_below": null.share_at_or_below(cosines),
        }
    )


def _pair_table(found: list[pd.DataFrame]) -> pd.DataFrame:
    if found:
        return pd.concat(found, ignore_index=True)[PAIR_COLUMNS]
    types = dict.fromkeys(PAIR_COLUMNS[:3], object) | dict.fromkeys(PAIR_COLUMNS[3:], float)
    return pd.DataFrame(columns=PAIR_COLUMNS).astype(types)


def _skipped(sources: Iterable[str], thresholds: Thresholds, map_genes: int, reason: str) -> pd.DataFrame:
    rows = [
        {"source": source, "low": low, "high": high, "pairs": 0, "genes": 0, "map_genes": map_genes, "reason": reason}
        for source in sources
        for low, high in thresholds
    ]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _mismatch(source: str, known: pd.DataFrame, names: pd.Index) -> str:
    theirs = pd.unique(known[ENTITIES].to_numpy().ravel())
    ours = listing(names, 4)
    return f"{source} has no pair with both members in the map: it names {listing(theirs, 4)}, the map {ours}"
