"""An alignment: fitted once on some plates, stored, and applied to these and to later plates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment import VERSION
from cellmae.alignment.arms import ArmCorrection, fit_arms
from cellmae.alignment.centring import fit_unmoved
from cellmae.alignment.chunks import ArrayChunks, BatchRows, Chunks, Rows
from cellmae.alignment.covariates import Regression, fit_regression, report_nesting
from cellmae.alignment.filters import WellFilter
from cellmae.alignment.harmony import HarmonisedWells, harmonise, require_harmonypy
from cellmae.alignment.steps import METHODS, BatchTransforms, Method, Steps, fit_steps
from cellmae.alignment.storage import arrays_of, load_parts, save_parts
from cellmae.errors import ConfigError, DataError
from cellmae.files import digest_bytes
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.screen.confounding import check_confounding
from cellmae.screen.listing import listing

NO_GENES = Genes()


@dataclass(frozen=True)
class Alignment:
    """Batch correction that was fitted once and treats every well alike ever after.

    Attributes
    ----------
    method, options
        As given to :func:`fit_alignment`.
    features, plates
        Names of the features, and of the plates of the fit.
    source
        Provenance of the embeddings: ``model``, ``weights_digest``.
    steps, batches
        What was fitted, for all batches and for each.
    harmonised
        The wells of the fit as Harmony leaves them, where it was asked for.
    wells
        Which wells are left out, where any are.
    regression
        What is subtracted from embeddings before all else, where anything is.
    arms
        What is subtracted from aligned coordinates, where anything is.
    confounding
        What was found to be confounded in the fit, as JSON-like values.
    """

    method: str
    options: Mapping[str, Any]
    features: tuple[str, ...]
    plates: tuple[str, ...]
    source: Mapping[str, Any]
    steps: Steps = field(repr=False)
    batches: BatchTransforms = field(repr=False)
    harmonised: HarmonisedWells | None = field(default=None, repr=False)
    wells: WellFilter | None = field(default=None, repr=False)
    regression: Regression | None = field(default=None, repr=False)
    arms: ArmCorrection | None = field(default=None, repr=False)
    confounding: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """Digest of all fitted numbers."""
        arrays = (array for part in self._parts.values() for array in arrays_of(part))
        return digest_bytes(*(array.tobytes() for array in arrays))

    def stream(
        self, adata: AnnData, chunks: Chunks | None = None, genes: Genes = NO_GENES
    ) -> Iterator[tuple[Rows, NDArray, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield rows, embeddings (less what is regressed out), principal and aligned coordinates, chunk by chunk.

        A batch of the fit is treated as in the fit. Centre, scale and covariance of any other are estimated
        from the wells given here, shrunk by what the fit knows about batches: give all its wells at once.

        Parameters
        ----------
        adata
            Annotated wells.
        chunks
            Their embeddings, where ``adata`` holds none in ``X``.
        genes
            The aliases by which genes find their arm.

        Raises
        ------
        DataError
            Features or weights of the embeddings are not those of the fit; with Harmony, wells that were not in it.
        """
        self._check_source(adata)
        chunks = chunks or ArrayChunks(np.asarray(adata.X))
        if self.regression is not None:
            chunks = self.regression.chunks(chunks, adata.obs, self.options["batch"])
        named = genes.named(adata.obs["perturbation"]) if self.arms is not None else None
        harmonised = None if self.harmonised is None else self.harmonised.of(_names(adata))
        batches = _batch_rows(adata, self.options["batch"], self.options.get("controls"))
        transforms = self.batches
        new = batches.without(transforms.names)
        if len(new.names):
            _report_few_controls(new, METHODS[self.method])
            transforms = transforms.joined(self.steps.estimate(chunks, new))
        for rows, X, coordinates, aligned in self.steps.transform(chunks, batches, transforms):
            if harmonised is not None:
                aligned = harmonised[rows].astype(np.float64)
            _check_finite(aligned, adata, rows)
            if self.arms is not None and named is not None:
                aligned = self.arms.apply(aligned, named[rows])
            yield rows, X, coordinates, aligned

    def apply(self, adata: AnnData, genes: Genes = NO_GENES) -> AnnData:
        """Add ``obsm["X_pca"]`` and ``obsm["X_tvn"]`` (float32), PCA slots and provenance to ``adata``.

        ``X_pca`` holds the coordinates that whitening starts from: those of located batches with the methods
        ``tvn`` and ``efaar``, of the embeddings as they are with the others; with ``none`` ``X_tvn`` equals it.

        Returns
        -------
        AnnData
            The same object.

        Raises
        ------
        DataError
            As :meth:`stream`.
        """
        vectors = {key: np.empty((adata.n_obs, width), np.float32) for key, width in self.widths.items()}
        for rows, _, coordinates, aligned in self.stream(adata, genes=genes):
            vectors["X_pca"][rows] = coordinates
            vectors["X_tvn"][rows] = aligned
        adata.obsm.update(vectors)
        return self.sign(adata)

    def sign(self, adata: AnnData) -> AnnData:
        """Add the PCA slots and the provenance to ``adata``, the same object, and leave its vectors alone."""
        axes = self.steps.axes
        adata.varm["PCs"] = axes.components.T.astype(np.float32)
        adata.uns["pca"] = {"variance": axes.variance, "variance_ratio": axes.variance_ratio}
        adata.uns["cellmae"] = {**adata.uns.get("cellmae", {}), **self.describe()}
        return adata

    @property
    def widths(self) -> Mapping[str, int]:
        """Length of the vectors in ``obsm``, by key."""
        components, dimensions = self.steps.whitening.matrix.shape
        return {"X_pca": components, "X_tvn": dimensions}

    def _check_source(self, adata: AnnData) -> None:
        if tuple(adata.var_names) != self.features:
            raise DataError(
                f"the alignment was fitted on {len(self.features)} features ({listing(self.features, 3)}) and met "
                f"{adata.n_vars} ({listing(adata.var_names, 3)}): embed with the same model, or set refit"
            )
        fitted, found = self.source.get("weights_digest"), _source(adata).get("weights_digest")
        if found != fitted:
            raise DataError(
                f"the alignment was fitted on embeddings of the weights {fitted} and met those of {found}: "
                "embed with the same weights, or set refit"
            )

    def describe(self) -> dict[str, Any]:
        """Return the provenance of aligned wells: what was done, with which numbers, fitted on what."""
        return {
            "stage": "alignment",
            "version": VERSION,
            "method": self.method,
            "options": dict(self.options),
            "components": self.widths["X_pca"],
            "dimensions": self.widths["X_tvn"],
            **(self._borrowing() if self.method == "tvn" else {}),
            **self._around(),
            "confounding": dict(self.confounding),
            "fit_plates": list(self.plates),
            "fit_digest": self.digest,
        }

    def _borrowing(self) -> dict[str, float]:
        return {
            "centre_weight_of_own_controls": float(self.batches.places.own_weight.mean()),
            "whitening_weight_of_all_wells": self.steps.whitening.borrowed,
        }

    def _around(self) -> dict[str, Any]:
        regressed = {} if self.regression is None else {"variance_regressed_out": self.regression.variance_removed}
        return regressed | ({} if self.arms is None else {"arm_correction": self.arms.describe()})

    @property
    def _parts(self) -> dict[str, Any]:
        names = ("steps", "batches", "harmonised", "wells", "regression", "arms")
        parts = {name: getattr(self, name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

    def save(self, path: str | Path) -> None:
        """Write the alignment to an HDF5 file, atomically."""
        save_parts(
            path,
            version=VERSION,
            header={
                "method": self.method,
                "options": self.options,
                "source": self.source,
                "confounding": self.confounding,
            },
            names={"features": self.features, "plates": self.plates},
            parts=self._parts,
        )

    @classmethod
    def load(cls, path: str | Path) -> "Alignment":
        """Read what :meth:`save` wrote; :class:`DataError` for any other file and for a newer version."""
        return cls(**load_parts(path, newest=VERSION))


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
        ``tvn``, ``efaar``, ``pca-cs`` or ``none``: see :data:`~cellmae.alignment.METHODS`.
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
    _check_columns(adata, batch, controls)
    batches = _batch_rows(adata, batch, controls)
    _require_controls(batches, method)
    _report_few_controls(batches, recipe)
    chunks = chunks or ArrayChunks(np.asarray(adata.X))
    confounding = _check_confounding(adata, batch)
    regression, located = None, chunks
    if regress:
        regression = fit_regression(chunks, adata.obs, regress, batch)
        confounding["nesting"] = report_nesting(adata.obs, regression.covariates, batch)
        located = regression.chunks(chunks, adata.obs, batch)
    steps, transforms = fit_steps(located, batches, recipe, components=pca)
    options = {"pca": pca, "batch": batch} | ({"standardise": standardise} if method == "efaar" else {})
    options |= ({"controls": list(controls)} if controls else {}) | ({"harmony": True} if harmony else {})
    options |= ({"regress": list(regress)} if regress else {}) | (
        {"arm_correction": dict(arm_correction)} if arm_correction else {}
    )
    alignment = Alignment(
        method=method,
        options=options,
        features=tuple(adata.var_names),
        plates=tuple(sorted(adata.obs["plate"].astype(str).unique())),
        source=_source(adata),
        steps=steps,
        batches=transforms,
        wells=wells,
        regression=regression,
        confounding=confounding,
    )
    if harmony:
        aligned = np.concatenate([aligned for *_, aligned in alignment.stream(adata, chunks)])
        alignment = replace(alignment, harmonised=harmonise(aligned, batches, _names(adata)))
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


def _check_columns(adata: AnnData, batch: str, controls: Sequence[str]) -> None:
    if batch not in adata.obs:
        raise ConfigError(f"alignments.*.batch: no column {batch!r} among {listing(adata.obs.columns)}")
    missing = adata.obs[batch].isna()
    if missing.any():
        raise ConfigError(
            f"alignments.*.batch: column {batch!r} has no value for {missing.sum()} wells "
            f"({listing(adata.obs_names[missing], 3)}): name one that all wells have"
        )
    if controls:
        known = adata.obs.loc[adata.obs["role"] == "negative_control", "perturbation"].astype(str).unique()
        unknown = sorted(set(controls) - set(known))
        if unknown:
            raise ConfigError(
                f"alignments.*.controls: no negative control is named {listing(unknown)}; there are "
                f"{listing(sorted(known)) or 'none'}"
            )


def _batch_rows(adata: AnnData, batch: str, controls: Sequence[str] | None) -> BatchRows:
    chosen = adata.obs["role"] == "negative_control"
    if controls:
        chosen &= adata.obs["perturbation"].isin(controls)
    return BatchRows.of(adata.obs[batch].astype(str), chosen.to_numpy(dtype=bool))


def _check_finite(aligned: NDArray, adata: AnnData, rows: Rows) -> None:
    broken = ~np.isfinite(aligned).all(axis=1)
    if broken.any():
        raise DataError(
            f"embeddings of {broken.sum()} wells hold NaN or infinity ({listing(adata.obs_names[rows][broken])}): "
            "cellmae.alignment.annotate leaves such wells out"
        )


def _names(adata: AnnData) -> NDArray[np.str_]:
    return adata.obs_names.to_numpy(dtype=str)


def _source(adata: AnnData) -> dict[str, Any]:
    provenance = adata.uns.get("cellmae", {})
    return {key: provenance.get(key) for key in ("model", "weights_digest")}


def _require_controls(batches: BatchRows, method: str) -> None:
    found, needed = int(batches.is_control.sum()), METHODS[method].controls_needed
    if found < needed:
        advice = "use method tvn, which borrows from all wells" if found else "use method none"
        raise DataError(
            f"method {method} needs at least {needed} negative controls and found {found} in "
            f"{len(batches.names)} batches: name them under screen.controls, or {advice}"
        )


def _report_few_controls(batches: BatchRows, recipe: Method) -> None:
    counts = batches.control_counts
    texts = {0: "no negative control", 1: "one negative control"}
    for limit in range(recipe.fewest_controls):
        few = batches.names[counts == limit]
        if len(few):
            text = texts.get(limit, f"{limit} negative controls")
            logger.warning(
                "%d of %d batches have %s and borrow from the others: %s", len(few), len(counts), text, listing(few)
            )
