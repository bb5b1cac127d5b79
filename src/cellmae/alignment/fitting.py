"""How an alignment is fitted: what is asked for is checked, then one step after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from anndata import AnnData

from cellmae.alignment.alignment import NO_GENES, Alignment, batch_rows, names_of, report_few_controls, source_of
from cellmae.alignment.arms import fit_arms
from cellmae.alignment.centring import fit_unmoved
from cellmae.alignment.chunks import ArrayChunks, BatchRows, Chunks
from cellmae.alignment.covariates import fit_regression, report_nesting
from cellmae.alignment.filters import WellFilter
from cellmae.alignment.harmony import harmonise, require_harmonypy
from cellmae.alignment.steps import METHODS, Method, fit_steps
from cellmae.errors import ConfigError, DataError
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.screen.confounding import check_confounding
from cellmae.screen.listing import listing


def fit_alignment(
    adata: AnnData,
    chunks: Chunks | None = None,
    *,
    method: str = "tvn",
    pca: int = 128,
    batch: str = "batch",
    standardise: str = "batch",
    controls: Sequence[str] = (),
    harmony: bool = False,
    regress: Sequence[str] = (),
    arm_correction: Mapping[str, Any] | None = None,
    genes: Genes = NO_GENES,
    wells: WellFilter | None = None,
    shuffle: int | None = None,
) -> Alignment:
    """Fit an alignment on annotated wells.

    Parameters
    ----------
    adata
        Wells as :func:`~cellmae.alignment.annotate` returns them: embeddings in ``X``; ``role``,
        ``perturbation``, ``plate`` and the batch column in ``obs``.
    chunks
        The embeddings, where ``adata`` holds none in ``X``; read three times.
    method
        ``tvn``, ``efaar``, ``pca-cs``, ``centre`` or ``none``: see :data:`~cellmae.alignment.METHODS`.
    pca
        Number of principal components; fewer where wells, features or their rank are fewer.
    batch
        Column of ``obs`` whose values are brought together.
    standardise
        Method ``efaar`` only: ``batch`` centres and scales the wells of each batch before PCA, ``none``
        leaves them.
    controls
        Perturbations whose negative controls count; those of all by default.
    harmony
        Whether Harmony follows. It keeps all aligned wells in memory, and no later well can be aligned.
    regress
        Covariates whose effects are subtracted first, see :mod:`cellmae.alignment.covariates`.
    arm_correction
        Keywords of :func:`~cellmae.alignment.arms.fit_arms`, which is then applied last.
    genes
        Facts that the correction of arms needs.
    wells
        Filter that the wells have passed; kept for those that come later.
    shuffle
        Seed by which the perturbations of the wells have been swapped; kept as well.

    Raises
    ------
    ConfigError
        Unknown method, batch column, control or way to standardise; harmonypy is not installed.
    DataError
        Fewer than two wells, or too few negative controls for the method.
    """
    recipe = _recipe(method, standardise)
    if harmony:
        require_harmonypy()
    if adata.n_obs < 2:
        raise DataError(f"an alignment needs at least 2 wells and found {adata.n_obs}: embed more plates")
    batches = batch_rows(adata, batch, controls)
    _check_controls(adata, controls)
    _require_controls(batches, method)
    report_few_controls(batches, recipe)
    chunks = chunks or ArrayChunks(np.asarray(adata.X))
    confounding = _check_confounding(adata, batch)
    regression, located = None, chunks
    if regress:
        regression = fit_regression(chunks, adata.obs, regress, batch)
        confounding["nesting"] = report_nesting(adata.obs, regression.covariates, batch)
        located = regression.chunks(chunks, adata.obs, batch)
    steps, transforms = fit_steps(located, batches, recipe, components=pca)
    asked = {
        "standardise": standardise if method == "efaar" else None,
        "controls": list(controls),
        "harmony": harmony,
        "regress": list(regress),
        "arm_correction": dict(arm_correction or {}),
    }
    options = {"pca": pca, "batch": batch} | {key: value for key, value in asked.items() if value}
    if shuffle is not None:
        options["shuffle"] = shuffle
    alignment = Alignment(
        method=method,
        options=options,
        features=tuple(adata.var_names),
        plates=tuple(sorted(adata.obs["plate"].astype(str).unique())),
        source=source_of(adata),
        steps=steps,
        batches=transforms,
        wells=wells,
        regression=regression,
        confounding=confounding,
    )
    if harmony:
        aligned = np.concatenate([aligned for *_, aligned in alignment.stream(adata, chunks)])
        alignment = replace(alignment, harmonised=harmonise(aligned, batches, names_of(adata)))
    if arm_correction:
        aligned_chunks = ((rows, aligned) for rows, _, _, aligned in alignment.stream(adata, chunks))
        arms = fit_arms(aligned_chunks, adata.obs, genes, dimensions=alignment.widths["X_tvn"], **arm_correction)
        alignment = replace(alignment, arms=arms)
    logger.info(
        "alignment: %d wells, %d controls, %d batches; %s",
        adata.n_obs, batches.is_control.sum(), len(batches.names), alignment.describe(),
    )  # fmt: skip
    return alignment


def _check_confounding(adata: AnnData, batch: str) -> dict[str, Any]:
    found = check_confounding(adata.obs, batch=batch)
    for note in found.notes():
        logger.warning("confounding: %s", note)
    return {key: value for key, value in found.as_json().items() if value is not None}


def _recipe(method: str, standardise: str) -> Method:
    if standardise not in ("batch", "none"):
        raise ConfigError(f"alignments.*.standardise: found {standardise!r}, expected 'batch' or 'none'")
    if method not in METHODS:
        raise ConfigError(f"alignments.*.method: found {method!r}, expected one of {', '.join(METHODS)}")
    recipe = METHODS[method]
    return replace(recipe, fit_locator=fit_unmoved) if (method, standardise) == ("efaar", "none") else recipe


def _check_controls(adata: AnnData, controls: Sequence[str]) -> None:
    if controls:
        known = adata.obs.loc[adata.obs["role"] == "negative_control", "perturbation"].astype(str).unique()
        unknown = sorted(set(controls) - set(known))
        if unknown:
            raise ConfigError(
                f"alignments.*.controls: no negative control is named {listing(unknown)}; there are "
                f"{listing(sorted(known)) or 'none'}"
            )


def _require_controls(batches: BatchRows, method: str) -> None:
    found, needed = int(batches.is_control.sum()), METHODS[method].controls_needed
    if found < needed:
        advice = "use method tvn, which borrows from all wells" if found else "use method none"
        raise DataError(
            f"method {method} needs at least {needed} negative controls and found {found} in "
            f"{len(batches.names)} batches: name them under screen.controls, or {advice}"
        )
