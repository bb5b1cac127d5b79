"""Wells to treatments (guides, doses), treatments to perturbations (genes, compounds)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.stats import rankdata

from cellmae.alignment import digest_wells
from cellmae.errors import ConfigError
from cellmae.files import atomic_path, write_manifest
from cellmae.genes import Aliases, Genes, require_shared
from cellmae.logging import logger
from cellmae.maps import VERSION
from cellmae.maps.groups import Groups
from cellmae.maps.reading import STAGE
from cellmae.maps.replication import mean_cosines
from cellmae.maps.similarity import cosine_matrix, unit_vectors
from cellmae.maps.strength import score_perturbations
from cellmae.maps.wells import Wells, clean_wells, read_aligned

COSINE_LIMIT = 4000
"""Perturbations up to which a map carries all its cosines (64 MB)."""
LEAST_AGREEMENT = 0.01
"""Correlation that a well which agrees with none of its siblings is taken to have, as in pycytominer."""

Average = Literal["mean", "median"]
Weights = Literal["equal", "agreement"]


def aggregate(
    adata: AnnData,
    *,
    how: Average = "mean",
    weights: Weights = "equal",
    representation: str = "X_tvn",
    aliases: Aliases | None = None,
) -> tuple[AnnData, AnnData]:
    """Average wells to treatments, and treatments, with equal weight, to perturbations.

    Negative controls are left out: they are the origin of an aligned map, not a point of it. So are wells
    without a name or a finite profile; ``uns["cellmae"]`` counts them.

    Parameters
    ----------
    adata
        Aligned wells, with ``perturbation``, ``treatment``, ``role`` and ``batch`` in ``obs``. A well without
        a treatment counts as a treatment named as its perturbation.
    how
        The average, at both levels.
    weights
        Of the wells of a treatment: ``equal``, or by :func:`agreement` with each other (means only).
    representation
        Key of ``obsm`` to average.
    aliases
        Brings perturbations to approved symbols before wells are grouped.

    Returns
    -------
    tuple
        Treatments and perturbations. ``X`` float32; ``obs`` holds ``role``, ``wells``, ``treatments``
        (perturbations only), ``batches``, and ``consistency`` of the wells. A perturbation is a positive
        control if all its wells are.

    Raises
    ------
    ConfigError
        Weights with medians.
    DataError
        No well with a perturbation.
    """
    wells = clean_wells(adata, representation, aliases)
    X = np.asarray(adata.obsm[representation])[wells.rows]
    return aggregate_wells(
        X,
        wells,
        how=how,
        weights=weights,
        provenance={**adata.uns.get("cellmae", {}), "representation": representation},
    )


def aggregate_wells(
    X: NDArray, wells: Wells, *, how: Average = "mean", weights: Weights = "equal", provenance: Mapping[str, Any] = {}
) -> tuple[AnnData, AnnData]:
    """Average wells that are clean already, see :func:`aggregate`."""
    if weights == "agreement" and how == "median":
        raise ConfigError("maps.weights: found 'agreement', which weighs means; use maps.aggregate: mean, or equal")
    perturbations = wells.groups()
    treatments, owners, labels = _treatments(perturbations, wells.treatment)
    if how == "median":
        by_treatment = treatments.medians(X)
        by_perturbation = owners.medians(by_treatment)
    else:
        by_treatment = treatments.means(X, weights=agreement(X, treatments) if weights == "agreement" else None)
        by_perturbation = owners.means(by_treatment)

    treatment_obs = _describe(X, wells, treatments)
    treatment_obs.insert(0, "perturbation", np.asarray(perturbations.names)[owners.codes])
    treatment_obs.insert(1, "treatment", labels)
    perturbation_obs = _describe(X, wells, perturbations)
    perturbation_obs.insert(2, "treatments", owners.counts)
    facts = {
        **provenance,
        "stage": STAGE,
        "version": VERSION,
        "aggregate": how,
        "weights": weights,
        **{key: len(value) if isinstance(value, list | dict) else value for key, value in wells.facts.items()},
    }
    genes = _assemble(by_perturbation, perturbation_obs, facts)
    if genes.n_obs <= COSINE_LIMIT:
        genes.obsp["cosine"] = cosine_matrix(genes.X).astype(np.float32)
    return _assemble(by_treatment, treatment_obs.set_index(_unique_labels(treatment_obs)), facts), genes


def agreement(X: NDArray, groups: Groups) -> NDArray[np.float64]:
    """Return the weight of each row: its mean Spearman correlation with the other rows of its group.

    Negative correlations count as zero, a mean below :data:`LEAST_AGREEMENT` as that; the weights of a group
    add up to one. This is MODZ of Subramanian et al. 2017, *A Next Generation Connectivity Map* (Cell 171), as
    in pycytominer's ``modz``, without its rounding to four digits.

    Parameters
    ----------
    X
        Shape (rows, dimensions).
    groups
        The treatment of each row; rows of none weigh nothing.
    """
    weights = np.zeros(len(X))
    for _, rows in groups.stacks():
        size = rows.shape[1]
        if size < 3:
            weights[rows] = 1 / size
            continue
        ranks = rankdata(X[rows], axis=2).reshape(-1, X.shape[1])
        units = np.nan_to_num(unit_vectors(ranks - ranks.mean(axis=1, keepdims=True))).reshape(*rows.shape, -1)
        correlation = np.clip(np.matmul(units, units.transpose(0, 2, 1)), 0, None)
        correlation[:, np.arange(size), np.arange(size)] = 0
        mean = np.maximum(correlation.sum(axis=2) / (size - 1), LEAST_AGREEMENT)
        weights[rows] = mean / mean.sum(axis=1, keepdims=True)
    return weights


def build_map(
    aligned: str | Path,
    *,
    model: str,
    alignment: str,
    treatments: str | Path,
    output: str | Path,
    manifest: str | Path,
    how: Average = "mean",
    weights: Weights = "equal",
    aliases: str | Path | None = None,
    arms: str | Path | None = None,
    expression: str | Path | None = None,
    scores: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Write treatments and map of an alignment, then their manifest.

    Parameters
    ----------
    aligned
        Wells, as the stage alignment writes them.
    model, alignment
        Names in the configuration, kept in the provenance.
    treatments, output, manifest
        Files to write: two ``.h5ad`` and a ``.json``.
    how, weights
        As in :func:`aggregate`.
    aliases, arms, expression
        Tables of other names, chromosome arms and expression (zFPKM) of genes, see :mod:`cellmae.genes`.
    scores
        Options of :func:`~cellmae.maps.score_perturbations`.
    seed
        Of its null distributions.
    """
    adata = read_aligned(aligned)
    genes = Genes.read(arms=arms, expression=expression, aliases=aliases)
    wells = clean_wells(adata, aliases=genes.aliases)
    X = np.asarray(adata.obsm["X_tvn"])[wells.rows]
    provenance = {**adata.uns.get("cellmae", {}), "representation": "X_tvn", "model": model, "alignment": alignment}
    levels = aggregate_wells(X, wells, how=how, weights=weights, provenance=provenance)
    by_treatment, by_perturbation = levels
    for key, facts in (("expression", genes.expression), ("arms", genes.arms)):
        if facts is not None:
            require_shared(by_perturbation.obs_names, facts.index, key=f"genes.{key}")
    table, counts = score_perturbations(X, wells, expression=genes.expression, seed=seed, **(scores or {}))
    by_perturbation.obs = by_perturbation.obs.join(table)
    if genes.arms is not None:
        by_perturbation.obs["arm"] = pd.Categorical(genes.arms.reindex(by_perturbation.obs_names))
    for level, path in zip(levels, (treatments, output), strict=True):
        with atomic_path(path) as partial:
            level.write_h5ad(partial)
    logger.info("map: %d perturbations of %d treatments", by_perturbation.n_obs, by_treatment.n_obs)
    write_manifest(
        manifest,
        stage=STAGE,
        version=VERSION,
        files=[treatments, output],
        digest=digest_wells(by_perturbation),
        model=model,
        alignment=alignment,
        wells=adata.n_obs,
        **wells.facts,
        treatments=by_treatment.n_obs,
        perturbations=by_perturbation.n_obs,
        dimensions=by_perturbation.n_vars,
        scores=counts,
    )


def _treatments(perturbations: Groups, labels: pd.Series) -> tuple[Groups, Groups, pd.Index]:
    """Return the treatment of each well, the perturbation of each treatment, and what treatments are called."""
    label, names = pd.factorize(labels, sort=True)
    kept = perturbations.codes >= 0
    keys, codes = np.unique(perturbations.codes[kept] * len(names) + label[kept], return_inverse=True)
    numbers = np.full(len(labels), -1)
    numbers[kept] = codes
    owner, own_label = np.divmod(keys, len(names))
    return Groups(numbers, pd.RangeIndex(len(keys))), Groups(owner, perturbations.names), pd.Index(names)[own_label]


def _describe(X: NDArray, wells: Wells, groups: Groups) -> pd.DataFrame:
    positive = Groups(np.where(wells.obs["role"] == "positive_control", groups.codes, -1), groups.names).counts
    return pd.DataFrame(
        {
            "role": np.where(positive == groups.counts, "positive_control", "treatment"),
            "wells": groups.counts,
            "batches": groups.distinct(wells.obs["batch"]),
            "consistency": mean_cosines(X, groups),
        },
        index=groups.names,
    )


def _unique_labels(obs: pd.DataFrame) -> pd.Index:
    """Return treatments as they are, or after their perturbation where two perturbations share a label."""
    treatment = obs["treatment"]
    shared = treatment.duplicated(keep=False)
    return pd.Index(treatment.where(~shared, obs["perturbation"] + "_" + treatment))


def _assemble(vectors: NDArray, obs: pd.DataFrame, provenance: dict[str, Any]) -> AnnData:
    texts = obs.select_dtypes("object").columns
    obs = obs.astype(dict.fromkeys(texts, "category")).rename_axis(None)
    names = [f"dimension_{number}" for number in range(vectors.shape[1])]
    return AnnData(
        vectors.astype(np.float32), obs=obs, var=pd.DataFrame(index=names), uns={"cellmae": dict(provenance)}
    )
