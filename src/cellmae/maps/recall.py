"""Recall of known relationships: how many known pairs lie in the tails of all pairs' similarities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.errors import ConfigError, DataError
from cellmae.files import atomic_path, write_csv
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.maps.bootstrap import interval, resampled_shares
from cellmae.maps.reading import profiles, read_map
from cellmae.maps.relationships import ENTITIES, read_relationships, unmatched
from cellmae.maps.similarity import Null, cosines_of, pairs_apart, unit_vectors
from cellmae.maps.tails import Tails
from cellmae.maps.truth import oracle, read_truth
from cellmae.screen.listing import listing

MIN_PERTURBATIONS = 20
"""Below it the tails of the null hold too few pairs to mean anything."""
THRESHOLDS = ((0.05, 0.95),)
MEMBERS = ["first", "second"]
"""Numbers of a pair's members among the perturbations of the map."""
ALL_PAIRS, DIFFERENT_ARMS = "all", "different_arms"
SCORE_COLUMNS = [
    "source", "pairs_kept", "low", "high", "recall", "recall_ci_low", "recall_ci_high",
    "recall_low", "recall_low_ci_low", "recall_low_ci_high", "recall_high", "recall_high_ci_low", "recall_high_ci_high",
    "chance", "chance_ci_low", "chance_ci_high", "p_value", "pairs", "genes", "map_genes", "source_pairs", "reason",
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
    arms: pd.Series | None = None,
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
    arms
        Chromosome arm by gene: adds rows in which pairs of the same arm, or of an unknown one, count neither as
        known nor in the null. Genes of one arm look alike where cutting DNA loses the whole arm.

    Returns
    -------
    tuple
        Two tables. The first has a row a source, ``pairs_kept`` (``all``, ``different_arms``) and threshold:
        ``low``, ``high``; ``recall`` and the one-sided ``recall_low`` and ``recall_high``, each with its 95 %
        interval in ``_ci_low``, ``_ci_high``; ``chance`` (the share of all pairs that would count as recalled)
        with the 95 % band ``chance_ci_low``, ``chance_ci_high`` of the recall with permuted names, and the
        ``p_value`` of exceeding it; the ``pairs`` and ``genes`` it rests on, ``map_genes``, the
        ``source_pairs`` listed; and a ``reason`` where it was skipped. The second has a row a source and pair:
        ``entity1``, ``entity2``, ``cosine``, and the shares of all pairs strictly below and at or below it.

    Raises
    ------
    ConfigError
        Thresholds that are no shares in ascending order.
    DataError
        Duplicate names in the map, profiles that are no numbers, or sources none of which has a pair in it.
    """
    for low, high in thresholds:
        if not 0 <= low < high <= 1:
            raise ConfigError(f"maps.thresholds: found [{low}, {high}], expected two shares, the lower one first")
    names = perturbations.obs_names
    units = unit_vectors(profiles(perturbations))
    if len(names) < MIN_PERTURBATIONS or not relationships:
        few = f"{len(names)} perturbations, of at least {MIN_PERTURBATIONS} that recall needs"
        reason = few if len(names) < MIN_PERTURBATIONS else "no relationship file"
        rows = [_skipped(source, thresholds, reason, map_genes=len(names)) for source in relationships or ["none"]]
        return pd.concat(rows, ignore_index=True), _pair_table([])
    known = pd.concat([_within(source, pairs, names) for source, pairs in relationships.items()], ignore_index=True)
    reasons = _mismatches(relationships, known, names)
    known["cosine"] = cosines_of(units, known[MEMBERS].to_numpy())
    scores: dict[str, list[pd.DataFrame]] = {source: [] for source in relationships}
    selections = {ALL_PAIRS: None} | ({} if arms is None else {DIFFERENT_ARMS: _arm_numbers(arms, names)})
    for kept, groups in selections.items():
        null = Null.of(units, groups)
        tails = Tails.of(units, null, thresholds, groups) if replicates and len(null.values) else None
        ranked = _ranked(known, null, groups)
        for source in relationships:
            own = ranked[ranked["source"] == source]
            facts: dict[str, Any] = {
                "pairs_kept": kept,
                "map_genes": len(names),
                "source_pairs": len(relationships[source]),
            }
            if own.empty:
                reason = reasons.get(
                    source, f"no known pair of {source} is on different arms, as far as they are known"
                )
                scores[source].append(_skipped(source, thresholds, reason, **facts))
            else:
                score = _score(own, null, tails, thresholds, replicates=replicates, seed=seed)
                scores[source].append(score.assign(source=source, reason="", **facts))
        if kept == ALL_PAIRS:
            found = ranked
    table = pd.concat([table for tables in scores.values() for table in tables], ignore_index=True)
    return table[SCORE_COLUMNS], _pair_table([found])


def recalled(pairs: pd.DataFrame, low: float, high: float) -> NDArray[np.bool_]:
    """Tell which pairs, with the shares of all pairs beside them, count as recalled, shape (pairs,)."""
    return (_in_low_tail(pairs, low) | _in_high_tail(pairs, high)).to_numpy()


def score_recall(
    perturbations: str | Path,
    relationships: Mapping[str, str | Path],
    *,
    output: str | Path,
    pairs: str | Path,
    missing: str | Path | None = None,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
    truth: str | Path | None = None,
    arms: str | Path | None = None,
    aliases: str | Path | None = None,
) -> None:
    """Write ``recall.csv``, ``pairs.parquet`` and ``unmatched.csv`` of a map.

    Parameters
    ----------
    perturbations
        Map of :func:`~cellmae.maps.build_map`.
    relationships
        Files by name of the source.
    output, pairs
        Files to write.
    missing
        Table to write of the names that sources and map do not have in common.
    thresholds, replicates, seed
        As in :func:`recall`.
    truth
        True phenotypes of a simulated screen: adds the column ``oracle``, the recall that they reach.
    arms, aliases
        Tables of chromosome arms and of other names of genes, see :mod:`cellmae.genes`.
    """
    adata = read_map(perturbations)
    genes = Genes.read(arms=arms, aliases=aliases)
    known = {source: read_relationships(path, aliases=genes.aliases) for source, path in relationships.items()}
    options: dict[str, Any] = {"thresholds": thresholds, "seed": seed, "arms": genes.arms}
    if missing is not None:
        write_csv(missing, unmatched(known, adata.obs_names))
    scores, found = recall(adata, known, replicates=replicates, **options)
    if truth is not None:
        best, _ = recall(oracle(read_truth(truth), adata.obs_names), known, replicates=0, **options)
        scores["oracle"] = best["recall"]
    write_csv(output, scores)
    with atomic_path(pairs) as partial:
        found.to_parquet(partial, index=False)
    for row in scores.itertuples():
        logger.info(
            "recall of %s (pairs kept: %s) at %g/%g: %.3f (%.3f to %.3f), chance %.3f, %d of %d pairs",
            row.source, row.pairs_kept, row.low, row.high, row.recall, row.recall_ci_low, row.recall_ci_high,
            row.chance, row.pairs, row.source_pairs,
        )  # fmt: skip


def _within(source: str, pairs: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Return the pairs that have both members in the map, with the members' numbers."""
    numbers = {
        member: names.get_indexer(pd.Index(pairs[entity])) for member, entity in zip(MEMBERS, ENTITIES, strict=True)
    }
    table = pairs[ENTITIES].assign(source=source, **numbers)
    return table[(table[MEMBERS] >= 0).all(axis=1)]


def _mismatches(relationships: Mapping[str, pd.DataFrame], known: pd.DataFrame, names: pd.Index) -> dict[str, str]:
    """Say of each source without a pair in the map what it names; an error where all are such."""
    found = set(known["source"])
    reasons = {
        source: _mismatch(source, pairs, names) for source, pairs in relationships.items() if source not in found
    }
    if not found:
        raise DataError("; ".join(reasons.values()))
    for reason in reasons.values():
        logger.warning("recall skipped: %s", reason)
    return reasons


def _arm_numbers(arms: pd.Series, names: pd.Index) -> NDArray[np.intp]:
    """Return the number of each name's arm, -1 where it is unknown."""
    numbers, _ = pd.factorize(arms[~arms.index.duplicated()].reindex(names))
    logger.info(
        "arms are known of %d of %d perturbations; not: %s",
        (numbers >= 0).sum(),
        len(names),
        listing(names[numbers < 0]) or "none",
    )
    return numbers


def _ranked(known: pd.DataFrame, null: Null, groups: NDArray[np.intp] | None) -> pd.DataFrame:
    """Add the ranks among all pairs; of pairs of different groups alone where there are such."""
    if groups is not None:
        known = known[pairs_apart(*groups[known[MEMBERS].to_numpy().T])]
    cosines = known["cosine"].to_numpy()
    return known.assign(share_below=null.share_below(cosines), share_at_or_below=null.share_at_or_below(cosines))


def _score(
    ranked: pd.DataFrame,
    null: Null,
    tails: Tails | None,
    thresholds: Thresholds,
    *,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    pairs = ranked[MEMBERS].to_numpy()
    # A pair lies in one tail at most, so recall is the sum of the one-sided ones, in each draw as well.
    sides = [(_in_low_tail(ranked, low), _in_high_tail(ranked, high)) for low, high in thresholds]
    hits = np.array(sides).reshape(2 * len(sides), len(pairs)).T
    resampled = resampled_shares(pairs, hits, replicates=replicates, seed=seed)
    permuted = (
        np.empty((0, len(sides))) if tails is None else tails.permuted_shares(pairs, replicates=replicates, seed=seed)
    )
    rows = []
    for number, (low, high) in enumerate(thresholds):
        in_low, in_high = hits[:, 2 * number], hits[:, 2 * number + 1]
        draws_low, draws_high = resampled[:, 2 * number], resampled[:, 2 * number + 1]
        value = (in_low | in_high).mean()
        rows.append(
            {
                "low": low,
                "high": high,
                **_with_interval("recall", value, draws_low + draws_high),
                **_with_interval("recall_low", in_low.mean(), draws_low),
                **_with_interval("recall_high", in_high.mean(), draws_high),
                **_with_interval("chance", null.share_beyond(*null.bounds(low, high)), permuted[:, number]),
                "p_value": (1 + np.count_nonzero(permuted[:, number] >= value)) / (1 + len(permuted)),
                "pairs": len(pairs),
                "genes": len(np.unique(pairs)),
            }
        )
    return pd.DataFrame(rows)


def _with_interval(name: str, value: float, replicates: NDArray) -> dict[str, float]:
    low, high = interval(replicates)
    return {name: value, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _in_low_tail(pairs: pd.DataFrame, low: float) -> pd.Series:
    return pairs["share_at_or_below"] <= low


def _in_high_tail(pairs: pd.DataFrame, high: float) -> pd.Series:
    return pairs["share_below"] >= high


def _pair_table(found: list[pd.DataFrame]) -> pd.DataFrame:
    if found:
        return pd.concat(found, ignore_index=True)[PAIR_COLUMNS]
    types = dict.fromkeys(PAIR_COLUMNS[:3], object) | dict.fromkeys(PAIR_COLUMNS[3:], float)
    return pd.DataFrame(columns=PAIR_COLUMNS).astype(types)


def _skipped(source: str, thresholds: Thresholds, reason: str, **facts: object) -> pd.DataFrame:
    row = {
        "source": source,
        "pairs_kept": ALL_PAIRS,
        "pairs": 0,
        "genes": 0,
        "source_pairs": 0,
        "reason": reason,
    } | facts
    return pd.DataFrame([row | {"low": low, "high": high} for low, high in thresholds], columns=SCORE_COLUMNS)


def _mismatch(source: str, known: pd.DataFrame, names: pd.Index) -> str:
    theirs = pd.unique(known[ENTITIES].to_numpy().ravel())
    ours = listing(names, 4)
    return f"{source} has no pair with both members in the map: it names {listing(theirs, 4)}, the map {ours}"
