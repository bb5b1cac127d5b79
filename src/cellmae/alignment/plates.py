"""Files of plates in, files of the stage out: what the rules of the workflow call."""

from collections.abc import Sequence
from pathlib import Path

from anndata import AnnData

from cellmae.alignment import VERSION
from cellmae.alignment.alignment import Alignment, fit_alignment
from cellmae.alignment.annotation import annotate, digest_wells
from cellmae.embeddings import read_embeddings
from cellmae.files import atomic_path, write_manifest
from cellmae.screen import read_wells


def fit_plates(
    embeddings: Sequence[str | Path],
    wells: Sequence[str | Path],
    *,
    fit: str | Path,
    manifest: str | Path,
    method: str = "tvn",
    pca: int = 128,
    batch: str = "batch",
    standardise: str = "batch",
) -> None:
    """Fit an alignment on the plates given; write it, then its manifest.

    Parameters
    ----------
    embeddings, wells
        Files of the stages embeddings and screen, one a plate.
    fit, manifest
        Files to write: ``.fit.h5`` and ``.fit.json``.
    method, pca, batch, standardise
        As in :func:`~cellmae.alignment.fit_alignment`.
    """
    adata = _read_plates(embeddings, wells)
    alignment = fit_alignment(adata, method=method, pca=pca, batch=batch, standardise=standardise)
    alignment.save(fit)
    facts = {key: value for key, value in alignment.describe().items() if key not in ("stage", "version")}
    digest = facts.pop("fit_digest")
    write_manifest(
        manifest, stage="alignment", version=VERSION, digest=digest, wells=adata.uns["cellmae"]["wells"], **facts
    )


def align_plates(
    embeddings: Sequence[str | Path],
    wells: Sequence[str | Path],
    *,
    fit: str | Path,
    output: str | Path,
    manifest: str | Path,
) -> None:
    """Apply a stored alignment to all plates given; write the aligned wells, then their manifest.

    Parameters
    ----------
    embeddings, wells
        Files of the stages embeddings and screen, one a plate, in the fit or not.
    fit
        File that :func:`fit_plates` wrote.
    output, manifest
        Files to write: ``.h5ad`` and ``.json``.
    """
    alignment = Alignment.load(fit)
    adata = alignment.apply(_read_plates(embeddings, wells))
    with atomic_path(output) as partial:
        adata.write_h5ad(partial)
    write_manifest(
        manifest,
        stage="alignment",
        version=VERSION,
        digest=digest_wells(adata),
        fit_digest=alignment.digest,
        wells=adata.uns["cellmae"]["wells"],
        dimensions=alignment.steps.whitening.matrix.shape[1],
        plates=sorted(adata.obs["plate"].astype(str).unique()),
    )


def _read_plates(embeddings: Sequence[str | Path], wells: Sequence[str | Path]) -> AnnData:
    return annotate([read_embeddings(path) for path in embeddings], [read_wells(path) for path in wells])
