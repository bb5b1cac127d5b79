"""Wells to treatments (guides, doses), treatments to perturbations (genes, compounds)."""

from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment import digest_wells
from cellmae.errors import DataError
from cellmae.files import atomic_path, write_manifest
from cellmae.logging import logger
from cellmae.maps import VERSION
from cellmae.maps.similarity import cosine_matrix, unit_vectors

COSINE_LIMIT = 4000
"""Perturbations up to which a map carries all its cosines (64 MB)."""

Average = Literal["mean", "median"]


def aggregate(adata: AnnData, *, how: Average = "mean", representation: str = "X_tvn") -> tuple[AnnData, AnnData]:
    """Average wells to treatments, and treatments, with equal weight, to perturbations.

    Negative controls are left out: they are the origin of an aligned map, not a point of it.

    Parameters
    ----------
    adata
        Aligned wells, with ``perturbation``, ``treatment``, ``role`` and ``batch`` in ``obs``. A well without
        a treatment counts as a treatment named as its perturbation.
    how
        The average, at both levels.
    representation
        Key of ``obsm`` to average.

    Returns
    -------
    tuple
        Treatments and perturbations. ``X`` float32; ``obs`` holds ``role``, ``wells``, ``treatments``
        (perturbations only), ``batches``, and ``consistency`` of the wells. A perturbation is a positive
        control if all its wells are.

    Raises
    ------
    DataError
        All wells are negative controls.
    """
    perturbed = (adata.obs["role"] != "negative_control").to_numpy()
    if not perturbed.any():
        raise DataError(f"all {adata.n_obs} wells are negative controls: a map needs perturbations")
    obs = adata.obs.loc[perturbed, ["perturbation", "treatment", "role", "batch"]].astype(object)
    obs["treatment"] = obs["treatment"].fillna(obs["perturbation"])
    obs = obs.astype(str).reset_index(drop=True)
    vectors = pd.DataFrame(np.asarray(adata.obsm[representation], dtype=np.float64)[perturbed])

    keys = ["perturbation", "treatment"]
    by_treatment = vectors.groupby([obs[key] for key in keys]).agg(how)
    treatment_obs = _describe(vectors, obs, keys).reset_index()
    by_perturbation = by_treatment.groupby(level="perturbation").agg(how)
    perturbation_obs = _describe(vectors, obs, ["perturbation"])
    perturbation_obs.insert(2, "treatments", obs.groupby("perturbation")["treatment"].nunique())

    provenance = {
        **adata.uns.get("cellmae", {}),
        "stage": "maps",
        "version": VERSION,
        "aggregate": how,
        "representation": representation,
        "negative_control_wells": int((~perturbed).sum()),
    }
    treatments = _assemble(by_treatment, treatment_obs.set_index(_unique_labels(treatment_obs)), provenance)
    perturbations = _assemble(by_perturbation, perturbation_obs, provenance)
    if perturbations.n_obs <= COSINE_LIMIT:
        perturbations.obsp["cosine"] = cosine_matrix(perturbations.X).astype(np.float32)
    return treatments, perturbations


def consistency(X: NDArray, groups: NDArray) -> pd.Series:
    """Return the mean cosine of all pairs of rows in each group.

    For n unit vectors that add up to s it is (|s|^2 - n) / (n (n - 1)): no pair is visited. Rows without a
    direction do not count; NaN where fewer than two remain.

    Parameters
    ----------
    X
        Shape (rows, dimensions).
    groups
        Label of each row.

    Returns
    -------
    Series
        By label, sorted.
    """
    units = pd.DataFrame(unit_vectors(X))
    sums = units.groupby(groups).sum()
    count = units[0].groupby(groups).count()
    return (np.square(sums).sum(axis=1) - count) / (count * (count - 1)).where(count > 1)


def build_map(
    aligned: str | Path,
    *,
    model: str,
    alignment: str,
    treatments: str | Path,
    output: str | Path,
    manifest: str | Path,
    how: Average = "mean",
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
    how
        ``mean`` or ``median``.
    """
    wells = anndata.read_h5ad(aligned)
    levels = aggregate(wells, how=how)
    for level, path in zip(levels, (treatments, output), strict=True):
        level.uns["cellmae"] |= {"model": model, "alignment": alignment}
        with atomic_path(path) as partial:
            level.write_h5ad(partial)
    by_treatment, by_perturbation = levels
    logger.info("map: %d perturbations of %d treatments", by_perturbation.n_obs, by_treatment.n_obs)
    write_manifest(
        manifest,
        stage="maps",
        version=VERSION,
        digest=digest_wells(by_perturbation),
        model=model,
        alignment=alignment,
        wells=wells.n_obs,
        negative_control_wells=by_perturbation.uns["cellmae"]["negative_control_wells"],
        treatments=by_treatment.n_obs,
        perturbations=by_perturbation.n_obs,
        dimensions=by_perturbation.n_vars,
    )


def _describe(vectors: pd.DataFrame, obs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = obs.groupby(keys)
    labels = groups.ngroup().to_numpy()
    positive = (obs["role"] == "positive_control").groupby(labels).all().to_numpy()
    table = groups.agg(wells=("role", "size"), batches=("batch", "nunique"))
    table.insert(0, "role", np.where(positive, "positive_control", "treatment"))
    table["consistency"] = consistency(vectors.to_numpy(), labels).to_numpy()
    return table


def _unique_labels(obs: pd.DataFrame) -> pd.Index:
    """Return treatments as they are, or after their perturbation where two perturbations share a label."""
    treatment = obs["treatment"]
    shared = treatment.duplicated(keep=False)
    return pd.Index(treatment.where(~shared, obs["perturbation"] + "_" + treatment))


def _assemble(vectors: pd.DataFrame, obs: pd.DataFrame, provenance: dict) -> AnnData:
    texts = obs.select_dtypes("object").columns
    obs = obs.astype(dict.fromkeys(texts, "category")).rename_axis(None)
    names = [f"dimension_{number}" for number in range(vectors.shape[1])]
    return AnnData(
        vectors.to_numpy(dtype=np.float32), obs=obs, var=pd.DataFrame(index=names), uns={"cellmae": dict(provenance)}
    )
