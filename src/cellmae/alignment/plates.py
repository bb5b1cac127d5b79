"""Files of plates in, files of the stage out: what the rules of the workflow call."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata import AnnData

from cellmae.alignment import VERSION
from cellmae.alignment.alignment import Alignment
from cellmae.alignment.annotation import annotate_apart, combine_digests
from cellmae.alignment.chunks import PlateChunks
from cellmae.alignment.filters import WellFilter, leave_out, make_filter
from cellmae.alignment.fitting import fit_alignment
from cellmae.alignment.shuffling import shuffled
from cellmae.alignment.storage import STAGE
from cellmae.embeddings import EmbeddingsFile
from cellmae.files import DIGEST_BYTES, atomic_path, digest_bytes, require_intact, write_manifest
from cellmae.genes import Genes
from cellmae.screen import read_wells


def fit_plates(
    embeddings: Sequence[str | Path],
    wells: Sequence[str | Path],
    *,
    fit: str | Path,
    manifest: str | Path,
    limits: Mapping[str, Any] | None = None,
    genes: Mapping[str, str | None] | None = None,
    shuffle: int | None = None,
    **options: Any,
) -> None:
    """Fit an alignment on the plates given; write it, then its manifest.

    Embeddings are read plate by plate, several times, and never held together.

    Parameters
    ----------
    embeddings, wells
        Files of the stages embeddings and screen, one a plate.
    fit, manifest
        Files to write: ``.fit.h5`` and ``.fit.json``.
    limits
        Which wells are left out, see :func:`~cellmae.alignment.filters.make_filter`.
    genes
        Files of facts about genes, keywords of :meth:`cellmae.genes.Genes.read`.
    shuffle
        Seed by which perturbations are swapped between wells, see :func:`~cellmae.alignment.shuffling.shuffled`.
    options
        Keywords of :func:`~cellmae.alignment.fit_alignment`.
    """
    known = Genes.read(**(genes or {}))
    wells_filter = make_filter(limits, known.expression) if limits else None
    adata, chunks = _read_plates(embeddings, wells, wells_filter, shuffle)
    alignment = fit_alignment(adata, chunks, genes=known, wells=wells_filter, shuffle=shuffle, **options)
    alignment.save(fit)
    facts = {key: value for key, value in alignment.describe().items() if key not in ("stage", "version")}
    digest = facts.pop("fit_digest")
    wells_counted = adata.uns["cellmae"]["wells"]
    write_manifest(manifest, stage=STAGE, version=VERSION, files=[fit], digest=digest, wells=wells_counted, **facts)


def align_plates(
    embeddings: Sequence[str | Path],
    wells: Sequence[str | Path],
    *,
    fit: str | Path,
    output: str | Path,
    manifest: str | Path | None = None,
    aliases: str | Path | None = None,
) -> None:
    """Apply a stored alignment to plates, in the fit or not; write the aligned wells, then their manifest.

    Works without Snakemake on the plates of any run, as long as they were embedded by the model of the fit. Batches
    of the fit are treated as in the fit; those of others are placed by their own wells, and nothing is fitted anew.
    Plates are read and written one at a time.

    Parameters
    ----------
    embeddings, wells
        Files of the stages embeddings and screen, one a plate; all plates of a batch that was not in the fit.
    fit
        File that :func:`fit_plates` wrote.
    output, manifest
        Files to write: ``.h5ad`` and ``.json``, which lies beside it by default.
    aliases
        Table of other names of genes, where arms or expression count.
    """
    alignment = Alignment.load(fit)
    genes = Genes.read(aliases=aliases)
    adata, chunks = _read_plates(embeddings, wells, alignment.wells, alignment.options.get("shuffle"))
    with atomic_path(output) as partial:
        adata, digest = _write_aligned(partial, alignment, adata, chunks, genes)
    write_manifest(
        manifest or Path(output).with_suffix(".json"),
        stage=STAGE,
        version=VERSION,
        files=[output],
        digest=digest,
        fit_digest=alignment.digest,
        wells=adata.uns["cellmae"]["wells"],
        dimensions=alignment.widths["X_tvn"],
        plates=sorted(adata.obs["plate"].astype(str).unique()),
    )


def require_aligned(path: str | Path) -> None:
    """Compare aligned wells with the manifest beside them, see :func:`cellmae.files.require_intact`."""
    require_intact(path, Path(path).with_suffix(".json"), stage=STAGE, version=VERSION)


def _read_plates(
    embeddings: Sequence[str | Path], wells: Sequence[str | Path], limits: WellFilter | None, shuffle: int | None
) -> tuple[AnnData, PlateChunks]:
    tables = [read_wells(path) for path in wells]
    if shuffle is not None:
        tables = [shuffled(table, seed=shuffle) for table in tables]
    adata, chunks = annotate_apart([EmbeddingsFile(path) for path in embeddings], tables)
    return (adata, chunks) if limits is None else leave_out(adata, chunks, limits.measured(adata.obs))


def _write_aligned(
    path: Path, alignment: Alignment, adata: AnnData, chunks: PlateChunks, genes: Genes
) -> tuple[AnnData, str]:
    """Write wells of expressed genes with their vectors, plate by plate; return them and their digest."""
    stays = np.ones(adata.n_obs, dtype=bool)
    written = adata
    if alignment.wells is not None and len(alignment.wells.unexpressed):
        reasons = alignment.wells.expressed(adata.obs, genes.named(adata.obs["perturbation"]))
        stays = reasons.isna().to_numpy()
        written, _ = leave_out(adata, chunks, reasons)
    alignment.sign(written).write_h5ad(path)
    widths = {"X": chunks.shape[1], **alignment.widths}
    digests = {key: blake2b(digest_size=DIGEST_BYTES) for key in widths}
    with h5py.File(path, "a") as file:
        datasets = {
            key: _create_array(file, key if key == "X" else f"obsm/{key}", (written.n_obs, width))
            for key, width in widths.items()
        }
        end = 0
        for rows, *vectors in alignment.stream(adata, chunks, genes):
            start, end = end, end + int(stays[rows].sum())
            for (key, dataset), values in zip(datasets.items(), vectors, strict=True):
                kept = np.ascontiguousarray(values[stays[rows]], dtype=np.float32)
                dataset[start:end] = kept
                digests[key].update(kept.data)
    other = {key: digest_bytes(np.ascontiguousarray(values).data) for key, values in written.obsm.items()}
    known = {key: state.hexdigest() for key, state in digests.items()} | other
    return written, combine_digests(written.obs, [known.pop("X"), *(known[key] for key in sorted(known))])


def _create_array(file: h5py.File, name: str, shape: tuple[int, int]) -> h5py.Dataset:
    """Create a float32 array as anndata's specification of its format, version 0.2.0 of arrays, wants it."""
    dataset = file.create_dataset(name, shape, dtype=np.float32)
    dataset.attrs["encoding-type"] = "array"
    dataset.attrs["encoding-version"] = "0.2.0"
    return dataset
