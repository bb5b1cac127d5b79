"""All scores of replicates, batches, chromosome arms and compounds of a map, in one table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.errors import DataError
from cellmae.files import write_csv
from cellmae.genes import Aliases, Genes
from cellmae.logging import logger
from cellmae.maps.aggregation import aggregate_wells
from cellmae.maps.average_precision import sharing
from cellmae.maps.bootstrap import interval, p_value, resamples
from cellmae.maps.classification import PROBES, probe_perturbations
from cellmae.maps.compounds import SCORE_COLUMNS, read_potencies, score_compounds
from cellmae.maps.distributions import compare_distributions, pair_cosines
from cellmae.maps.groups import Groups
from cellmae.maps.mixing import batch_purity, ilisi
from cellmae.maps.proximity import COLUMNS as ARM_COLUMNS
from cellmae.maps.proximity import MIN_GENES, proximity_bias
from cellmae.maps.reading import read_map
from cellmae.maps.strength import MOST_REPLICATES
from cellmae.maps.wells import Wells, clean_wells, directed, read_aligned

COLUMNS = [
    "score", "representation", "value", "ci_low", "ci_high", "chance", "p_value", "perturbations", "wells", "reason",
]  # fmt: skip
FDR = 0.05
"""False discovery rate at which a perturbation counts as active, consistent or strong."""
MOST_MIXED_WELLS = 10_000
MOST_SHARED = 2000
"""Perturbations whose treatments are asked for each other; drawn at random where there are more."""
AFTER = "X_tvn"


@dataclass(frozen=True)
class Resampling:
    """Bootstrap of the means of a table with ``value``, ``chance`` and ``weight``, its rows drawn."""

    replicates: int
    seed: int

    def row(self, score: str, table: pd.DataFrame, reason: str, **facts: Any) -> dict[str, Any]:
        """Return the row of a score: the weighted mean, its interval, chance, and the p-value against it.

        ``reason`` says why there is none where no row of the table has a value.
        """
        table = table.dropna(subset=["value"])
        if table.empty:
            return {"score": score, **facts, "perturbations": 0, "wells": 0, "reason": reason}
        weight = table["weight"].to_numpy(dtype=float)
        sums = np.column_stack([table["value"] * weight, table["chance"] * weight, weight]).astype(float)
        value, chance = sums.sum(axis=0)[:2] / weight.sum()
        draws = np.concatenate([block @ sums for block in self.draws(len(table))])
        means = draws[:, :2] / draws[:, 2:]
        low, high = interval(means[:, 0])
        return {
            "score": score, "value": value, "ci_low": low, "ci_high": high, "chance": chance,
            "p_value": p_value(means[:, 0] - means[:, 1]) if np.isfinite(chance) else np.nan,
            "perturbations": len(table), "reason": "", **facts,
        }  # fmt: skip

    def draws(self, size: int) -> Iterator[NDArray[np.float64]]:
        """Yield how often each of ``size`` rows is drawn."""
        return resamples(size, replicates=self.replicates, seed=self.seed)


def score_replicates(
    aligned: str | Path,
    perturbations: str | Path,
    treatments: str | Path,
    *,
    output: str | Path,
    proximity: str | Path,
    compounds: str | Path,
    arms: str | Path | None = None,
    aliases: str | Path | None = None,
    potencies: str | Path | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> None:
    """Write ``replicates.csv``, ``proximity.csv`` (by arm) and ``compounds.csv`` of a map.

    Parameters
    ----------
    aligned
        Wells, as the stage alignment writes them.
    perturbations, treatments
        Map and treatments of :func:`~cellmae.maps.build_map`.
    output, proximity, compounds
        Files to write.
    arms, aliases
        Tables of chromosome arms and of other names of genes, see :mod:`cellmae.genes`.
    potencies
        Table of :func:`~cellmae.maps.read_potencies`.
    replicates, seed
        Of the bootstrap over perturbations (over arms, batches or compounds, where these are scored), and of
        all that is drawn.
    """
    resampling = Resampling(replicates, seed)
    genes, guides = read_map(perturbations), read_map(treatments)
    adata = read_aligned(aligned, ("X_pca", AFTER))
    facts = Genes.read(arms=arms, aliases=aliases)
    wells = clean_wells(adata, aliases=facts.aliases)
    by_arm, arm_rows = _proximity(adata, wells, genes, facts.arms, resampling)
    by_compound, compound_row = _compounds(guides, genes, potencies, facts.aliases, resampling)
    rows = [
        *_strength(genes.obs, resampling),
        _sharing(guides, resampling),
        *_distributions(adata, wells, resampling),
        *arm_rows,
        *_mixing(aligned, adata, wells, resampling),
        *_probes(adata, wells, resampling),
        compound_row,
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    for frame, path in ((by_arm, proximity), (by_compound, compounds), (table, output)):
        write_csv(path, frame)
    for row in table.itertuples():
        logger.info(
            "%s of %s: %.3f (%.3f to %.3f), chance %.3f %s",
            row.score, row.representation, row.value, row.ci_low, row.ci_high, row.chance, row.reason,
        )  # fmt: skip


def _strength(obs: pd.DataFrame, resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Yield means over perturbations of what :func:`build_map` scored, and shares below the FDR."""
    alone = "no perturbation has two wells with a direction"
    reasons = {
        "consistency": alone,
        "activity": f"{alone}, or there are no negative controls",
        "magnitude": "no perturbation has two wells, or there are fewer than two negative controls",
    }
    for score, reason in reasons.items():
        chance = obs.get(f"{score}_chance", 0.0)
        table = pd.DataFrame({"value": obs[score], "chance": chance, "weight": 1})
        yield resampling.row(score, table, reason, representation=AFTER, wells=_sum(obs["wells"], obs[score]))
        found = (obs[f"{score}_fdr"] < FDR).where(obs[f"{score}_fdr"].notna()).astype(float)
        table = pd.DataFrame({"value": found, "chance": np.nan, "weight": 1})
        facts = {"representation": AFTER, "wells": _sum(obs["wells"], found)}
        yield resampling.row(f"{score}_share", table, reason, **facts)
    across = obs["consistency_across_plates"]
    table = pd.DataFrame({"value": across, "chance": np.nan, "weight": 1})
    reason = "no perturbation has wells on two plates"
    facts = {"representation": AFTER, "wells": _sum(obs["wells"], across)}
    yield resampling.row("consistency_across_plates", table, reason, **facts)


def _sum(wells: pd.Series, scored: pd.Series) -> int:
    return int(wells[scored.notna()].sum())


def _sharing(guides: AnnData, resampling: Resampling) -> dict[str, Any]:
    """Score whether guides of a gene, or doses of a compound, find each other among those of all others."""
    groups = Groups.of(guides.obs["perturbation"])
    if np.count_nonzero(groups.counts > 1) > MOST_SHARED:
        several = np.flatnonzero(groups.counts > 1)
        drawn = np.random.default_rng(resampling.seed).choice(several, MOST_SHARED, replace=False)
        groups = groups.only(np.isin(groups.codes, drawn))
    table = sharing(guides.X, groups, seed=resampling.seed)
    wells = guides.obs.groupby("perturbation", observed=True)["wells"].sum().reindex(table.index)
    facts = {"representation": AFTER, "wells": _sum(wells, table["map"])}
    scored = table.rename(columns={"map": "value"}).assign(weight=1)
    return resampling.row("treatments", scored, "no perturbation has two treatments", **facts)


def _distributions(adata: AnnData, wells: Wells, resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Yield the statistics of replicate pairs, their chance that of unrelated pairs."""
    X, groups = _directed(adata, wells, AFTER)
    pairs = pair_cosines(X, groups.at_most(MOST_REPLICATES, seed=resampling.seed), seed=resampling.seed)
    names = ("kolmogorov_smirnov", "cramer_von_mises")
    facts: dict[str, Any] = {"representation": AFTER}
    if not (len(pairs.replicates) and len(pairs.unrelated)):
        for name in names:
            yield resampling.row(name, pd.DataFrame({"value": []}), "no perturbation has two wells", **facts)
        return
    owners, place = np.unique(pairs.owner, return_inverse=True)
    half = len(pairs.unrelated) // 2
    chances = compare_distributions(pairs.unrelated[:half][: len(pairs.replicates)], pairs.unrelated[half:])
    values = compare_distributions(pairs.replicates, pairs.unrelated)
    weights = np.concatenate([block[:, place] for block in _few(resampling).draws(len(owners))])
    resampled = compare_distributions(pairs.replicates, pairs.unrelated, weights[weights.any(axis=1)])
    facts |= {"perturbations": len(owners), "wells": int(groups.counts[owners].sum()), "reason": ""}
    for name, value, chance, drawn in zip(names, values, chances, resampled, strict=True):
        low, high = interval(drawn)
        yield {"score": name, "value": value[0], "ci_low": low, "ci_high": high, "chance": chance[0], **facts}


def _few(resampling: Resampling) -> Resampling:
    """Return a bootstrap of fewer draws, for scores that sort anew in each."""
    return Resampling(min(resampling.replicates, 200), resampling.seed)


def _proximity(
    adata: AnnData, wells: Wells, genes: AnnData, arms: pd.Series | None, resampling: Resampling
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    rows, tables = [], [pd.DataFrame(columns=["representation", *ARM_COLUMNS])]
    for representation in ("X_pca", AFTER):
        score = "proximity_bias"
        facts: dict[str, Any] = {"representation": representation}
        if arms is None:
            rows.append(resampling.row(score, _nothing(), "no table of chromosome arms (genes.arms)", **facts))
            continue
        level = genes
        if representation != AFTER:
            level = aggregate_wells(np.asarray(adata.obsm[representation])[wells.rows], wells)[1]
        table, sums = proximity_bias(np.asarray(level.X), arms.reindex(level.obs_names))
        if table.empty:
            reason = f"not two chromosome arms, one with {MIN_GENES} genes in the map"
            rows.append(resampling.row(score, _nothing(), reason, **facts))
            continue
        tables.append(table.assign(representation=representation))
        by_arm = pd.DataFrame({"value": sums[:, 1] / sums[:, 0], "chance": 0.5, "weight": sums[:, 0]})
        known = level.obs["wells"][arms.reindex(level.obs_names).notna().to_numpy()]
        facts |= {"perturbations": int(table["genes"].iloc[0]), "wells": int(known.sum())}
        rows.append(resampling.row(score, by_arm, "", **facts))
    kept = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(kept, ignore_index=True)[tables[0].columns], rows


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({"value": [], "chance": [], "weight": []})


def _mixing(aligned: str | Path, adata: AnnData, wells: Wells, resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Yield the batch purity of the neighbourhoods of wells, controls among them, before and after alignment."""
    count = len(wells.rows)
    chosen = np.arange(count)
    if count > MOST_MIXED_WELLS:
        chosen = np.sort(np.random.default_rng(resampling.seed).choice(count, MOST_MIXED_WELLS, replace=False))
    rows = wells.rows[chosen]
    sources: dict[str, Callable[[], NDArray]] = {
        "X": lambda: _standardised(_read_rows(aligned, rows)),
        **{key: partial(_rows_of, adata, key, rows) for key in ("X_pca", AFTER)},
    }
    batches = wells.obs["batch"].astype(str).to_numpy()[chosen]
    for representation, read in sources.items():
        X = read()
        kept = directed(X)
        facts: dict[str, Any] = {"representation": representation}
        if len(np.unique(batches[kept])) < 2:
            yield resampling.row("batch_purity", _nothing(), "fewer than two batches with a direction", **facts)
            continue
        purity = batch_purity(X[kept], pd.Series(batches[kept]))
        groups = purity.groupby("batch")
        by_batch = groups[["purity", "chance"]].mean().rename(columns={"purity": "value"})
        facts |= {
            "perturbations": wells.perturbation.iloc[chosen[kept]].nunique(), "wells": int(kept.sum()),
        }  # fmt: skip
        yield resampling.row("batch_purity", by_batch.assign(weight=groups.size()), "", **facts)
        mixed = ilisi(X[kept], pd.Series(batches[kept]))
        if mixed is not None:
            yield {"score": "ilisi", "value": mixed, "reason": "", **facts}


def _read_rows(path: str | Path, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    with h5py.File(path) as file:
        X = file["X"]
        if not isinstance(X, h5py.Dataset):
            raise DataError(f"{path} holds a sparse X, expected embeddings: run the stage alignment again")
        return np.asarray(X[rows], dtype=np.float64)


def _rows_of(adata: AnnData, representation: str, rows: NDArray[np.intp]) -> NDArray:
    return np.asarray(adata.obsm[representation])[rows]


def _standardised(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and scale features over all wells, which knows of no batch; constant ones become zero."""
    deviation = X.std(axis=0)
    varies = deviation > 1e-6 * np.abs(X).max(axis=0, initial=0)
    return np.where(varies, (X - X.mean(axis=0)) / np.where(varies, deviation, 1), 0)


def _probes(adata: AnnData, wells: Wells, resampling: Resampling) -> Iterator[dict[str, Any]]:
    X, groups = _directed(adata, wells, AFTER)
    inside = groups.at_most(MOST_REPLICATES, seed=resampling.seed).codes >= 0
    table = probe_perturbations(
        X[inside], wells.perturbation[inside], wells.obs["batch"].astype(str)[inside], seed=resampling.seed
    )
    reason = "fewer than two perturbations with wells on two batches, or one well of each to fit on"
    facts = {"representation": AFTER, "wells": int(table["wells"].sum())}
    for probe in PROBES:
        scored = table.rename(columns={probe: "value"}).assign(weight=1)
        yield resampling.row(f"{probe}_probe", scored, reason, **facts)


def _directed(adata: AnnData, wells: Wells, representation: str) -> tuple[NDArray, Groups]:
    """Return profiles, and groups that leave out those without a direction."""
    X = np.asarray(adata.obsm[representation])[wells.rows]
    return X, wells.groups().only(directed(X))


def _compounds(
    guides: AnnData, genes: AnnData, potencies: str | Path | None, aliases: Aliases | None, resampling: Resampling
) -> tuple[pd.DataFrame, dict[str, Any]]:
    score, facts = "compound_gene", {"representation": AFTER}
    if potencies is None:
        reason = "no table of potencies (maps.compound_targets)"
        return pd.DataFrame(columns=SCORE_COLUMNS), resampling.row(score, _nothing(), reason, **facts)
    table = score_compounds(guides, genes, read_potencies(potencies, aliases), seed=resampling.seed)
    reason = "no compound of the table is in the map"
    if len(table):
        reason = "; ".join(f"{count} compounds: {why}" for why, count in table["reason"].value_counts().items())
    scored = table.rename(columns={"average_precision": "value"}).assign(weight=1)
    wells = genes.obs["wells"].reindex(scored.dropna(subset="value")["compound"])
    return table, resampling.row(score, scored.astype({"value": float}), reason, **facts, wells=int(wells.sum()))
