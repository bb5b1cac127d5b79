"""An alignment: fitted once on some plates, stored, and applied to these and to later plates."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment import VERSION
from cellmae.alignment.moments import BatchRows
from cellmae.alignment.steps import METHODS, BatchTransforms, Method, Steps, fit_steps, fit_unmoved
from cellmae.alignment.storage import arrays_of, load_parts, save_parts
from cellmae.errors import ConfigError, DataError
from cellmae.files import digest_bytes
from cellmae.logging import logger
from cellmae.screen.listing import listing


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
    """

    method: str
    options: Mapping[str, Any]
    features: tuple[str, ...]
    plates: tuple[str, ...]
    source: Mapping[str, Any]
    steps: Steps = field(repr=False)
    batches: BatchTransforms = field(repr=False)

    @property
    def digest(self) -> str:
        """Digest of all fitted numbers."""
        arrays = (array for part in (self.steps, self.batches) for array in arrays_of(part))
        return digest_bytes(*(array.tobytes() for array in arrays))

    def transform(self, X: NDArray, batches: BatchRows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return principal and aligned coordinates of wells, in float64.

        A batch of the fit is treated as in the fit. Centre, scale and covariance of any other are estimated
        from the wells given here, shrunk by what the fit knows about batches: give all its wells at once.

        Parameters
        ----------
        X
            Embeddings, shape (wells, features).
        batches
            Rows of the batches.

        Returns
        -------
        tuple
            Shapes (wells, components) and (wells, dimensions).
        """
        X = np.asarray(X, dtype=np.float64)
        transforms = self.batches
        new = batches.without(transforms.names)
        if len(new.names):
            _report_few_controls(new, self.method)
            transforms = transforms.joined(self.steps.estimate(X, new))
        return self.steps.transform(X, batches, transforms)

    def apply(self, adata: AnnData) -> AnnData:
        """Add ``obsm["X_pca"]`` and ``obsm["X_tvn"]`` (float32), PCA slots and provenance to ``adata``.

        ``X_pca`` holds the coordinates that whitening starts from: those of located batches with the methods
        ``tvn`` and ``efaar``, of the embeddings as they are with ``none``, where ``X_tvn`` equals it.

        Returns
        -------
        AnnData
            The same object.

        Raises
        ------
        DataError
            Features or weights of the embeddings are not those of the fit.
        """
        self._check_source(adata)
        coordinates, aligned = self.transform(np.asarray(adata.X), _batch_rows(adata, self.options["batch"]))
        adata.obsm["X_pca"] = coordinates.astype(np.float32)
        adata.obsm["X_tvn"] = aligned.astype(np.float32)
        axes = self.steps.axes
        adata.varm["PCs"] = axes.components.T.astype(np.float32)
        adata.uns["pca"] = {"variance": axes.variance, "variance_ratio": axes.variance_ratio}
        adata.uns["cellmae"] = {**adata.uns.get("cellmae", {}), **self.describe()}
        return adata

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
            "components": len(self.steps.axes.components),
            "dimensions": self.steps.whitening.matrix.shape[1],
            **(self._borrowing() if self.method == "tvn" else {}),
            "fit_plates": list(self.plates),
            "fit_digest": self.digest,
        }

    def _borrowing(self) -> dict[str, float]:
        return {
            "centre_weight_of_own_controls": float(self.batches.own_weight.mean()),
            "whitening_weight_of_all_wells": self.steps.whitening.borrowed,
        }

    def save(self, path: str | Path) -> None:
        """Write the alignment to an HDF5 file, atomically."""
        save_parts(
            path,
            version=VERSION,
            header={"method": self.method, "options": self.options, "source": self.source},
            names={"features": self.features, "plates": self.plates},
            parts={"steps": self.steps, "batches": self.batches},
        )

    @classmethod
    def load(cls, path: str | Path) -> "Alignment":
        """Read what :meth:`save` wrote; :class:`DataError` for any other file and for a newer version."""
        return cls(**load_parts(path, newest=VERSION))


def fit_alignment(
    adata: AnnData, *, method: str = "tvn", pca: int = 128, batch: str = "batch", standardise: str = "batch"
) -> Alignment:
    """Fit an alignment on annotated wells.

    Parameters
    ----------
    adata
        Wells as :func:`~cellmae.alignment.annotate` returns them: embeddings in ``X``; ``role``, ``plate``
        and the batch column in ``obs``.
    method
        ``tvn``, ``efaar`` or ``none``: see :data:`~cellmae.alignment.METHODS`.
    pca
        Number of principal components; fewer where wells, features or their rank are fewer.
    batch
        Column of ``obs`` whose values are brought together: ``batch`` or ``plate``.
    standardise
        Method ``efaar`` only: ``batch`` centres and scales the wells of each batch before PCA, ``none``
        leaves them.

    Raises
    ------
    ConfigError
        Unknown method, batch column or way to standardise.
    DataError
        Fewer than two wells, or no negative control where the method needs them.
    """
    recipe = _recipe(method, standardise)
    if batch not in adata.obs:
        raise ConfigError(f"alignments.*.batch: no column {batch!r} among {listing(adata.obs.columns)}")
    if adata.n_obs < 2:
        raise DataError(f"an alignment needs at least 2 wells and found {adata.n_obs}: embed more plates")
    batches = _batch_rows(adata, batch)
    if recipe.needs_controls:
        _require_controls(batches, method)
        _report_few_controls(batches, method)
    X = np.asarray(adata.X, dtype=np.float64)
    steps = fit_steps(X, batches, recipe, components=pca)
    options = {"pca": pca, "batch": batch} | ({"standardise": standardise} if method == "efaar" else {})
    alignment = Alignment(
        method=method,
        options=options,
        features=tuple(adata.var_names),
        plates=tuple(sorted(adata.obs["plate"].astype(str).unique())),
        source=_source(adata),
        steps=steps,
        batches=steps.estimate(X, batches),
    )
    logger.info(
        "alignment: %d wells, %d controls, %d batches; %s",
        adata.n_obs, len(batches.all_controls), len(batches.names), alignment.describe(),
    )  # fmt: skip
    return alignment


def _recipe(method: str, standardise: str) -> Method:
    if standardise not in ("batch", "none"):
        raise ConfigError(f"alignments.*.standardise: found {standardise!r}, expected 'batch' or 'none'")
    if method not in METHODS:
        raise ConfigError(f"alignments.*.method: found {method!r}, expected one of {', '.join(METHODS)}")
    recipe = METHODS[method]
    return replace(recipe, fit_locator=fit_unmoved) if (method, standardise) == ("efaar", "none") else recipe


def _batch_rows(adata: AnnData, batch: str) -> BatchRows:
    controls = (adata.obs["role"] == "negative_control").to_numpy(dtype=bool)
    return BatchRows.of(adata.obs[batch], controls)


def _source(adata: AnnData) -> dict[str, Any]:
    provenance = adata.uns.get("cellmae", {})
    return {key: provenance.get(key) for key in ("model", "weights_digest")}


def _require_controls(batches: BatchRows, method: str) -> None:
    if not len(batches.all_controls):
        raise DataError(
            f"no well of {len(batches.names)} batches is a negative control, which method {method} needs: "
            "name them under screen.controls, or use method none"
        )


def _report_few_controls(batches: BatchRows, method: str) -> None:
    counts = np.array([len(rows) for rows in batches.controls])
    for limit, text in ((0, "no negative control"), (1, "one negative control")):
        few = batches.names[counts == limit]
        if len(few) and method != "none":
            logger.warning(
                "%d of %d batches have %s and borrow from the others: %s", len(few), len(counts), text, listing(few)
            )
