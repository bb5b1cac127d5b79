"""An alignment: fitted once on some plates, stored, and applied to these and to later plates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment import VERSION
from cellmae.alignment.arms import ArmCorrection
from cellmae.alignment.chunks import ArrayChunks, BatchRows, Chunks, Rows
from cellmae.alignment.covariates import Regression
from cellmae.alignment.filters import WellFilter
from cellmae.alignment.harmony import HarmonisedWells
from cellmae.alignment.steps import METHODS, BatchTransforms, Method, Steps
from cellmae.alignment.storage import STAGE, arrays_of, load_parts, save_parts
from cellmae.errors import ConfigError, DataError
from cellmae.files import digest_bytes
from cellmae.genes import Genes
from cellmae.logging import logger
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
        harmonised = None if self.harmonised is None else self.harmonised.of(names_of(adata))
        batches = batch_rows(adata, self.options["batch"], self.options.get("controls"))
        transforms = self.batches
        new = batches.without(transforms.names)
        if len(new.names):
            report_few_controls(new, METHODS[self.method])
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
        fitted, found = self.source.get("weights_digest"), source_of(adata).get("weights_digest")
        if found != fitted:
            raise DataError(
                f"the alignment was fitted on embeddings of the weights {fitted} and met those of {found}: "
                "embed with the same weights, or set refit"
            )

    def describe(self) -> dict[str, Any]:
        """Return the provenance of aligned wells: what was done, with which numbers, fitted on what."""
        return {
            "stage": STAGE,
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
        """Read what :meth:`save` wrote; :class:`DataError` for any other file, another version, and damage."""
        return cls(**load_parts(path, version=VERSION))


def batch_rows(adata: AnnData, batch: str, controls: Sequence[str] | None) -> BatchRows:
    """Return which batch each well is of, and which are the controls that count: all, or those of some names.

    Raises
    ------
    ConfigError
        There is no such column, or it has no value for some wells.
    """
    if batch not in adata.obs:
        raise ConfigError(f"alignments.*.batch: no column {batch!r} among {listing(adata.obs.columns)}")
    missing = adata.obs[batch].isna()
    if missing.any():
        raise ConfigError(
            f"alignments.*.batch: column {batch!r} has no value for {missing.sum()} wells "
            f"({listing(adata.obs_names[missing], 3)}): name one that all wells have"
        )
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


def names_of(adata: AnnData) -> NDArray[np.str_]:
    """Return the names of wells, shape (wells,)."""
    return adata.obs_names.to_numpy(dtype=str)


def source_of(adata: AnnData) -> dict[str, Any]:
    """Return what embeddings come from: ``model`` and ``weights_digest``."""
    provenance = adata.uns.get("cellmae", {})
    return {key: provenance.get(key) for key in ("model", "weights_digest")}


def report_few_controls(batches: BatchRows, recipe: Method) -> None:
    """Warn of batches that have fewer controls than a method wants of each."""
    counts = batches.control_counts
    texts = {0: "no negative control", 1: "one negative control"}
    for limit in range(recipe.fewest_controls):
        few = batches.names[counts == limit]
        if len(few):
            text = texts.get(limit, f"{limit} negative controls")
            logger.warning(
                "%d of %d batches have %s and borrow from the others: %s", len(few), len(counts), text, listing(few)
            )
