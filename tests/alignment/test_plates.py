"""Files of plates, read and written a plate at a time."""

import anndata
import numpy as np
import pytest
import scanpy as sc

from cellmae.alignment import Alignment, ArrayChunks, align_plates, annotate, fit_alignment, fit_plates
from cellmae.alignment.annotation import annotate_apart
from cellmae.embeddings import EmbeddingsFile
from cellmae.errors import DataError
from cellmae.files import read_manifest
from cellmae.screen import read_wells

METHODS = ("tvn", "efaar", "pca-cs", "centre", "none")


@pytest.fixture
def files(screen, tmp_path):
    """Six plates of unequal size in three batches, one of them with a NaN; their embeddings and wells."""
    adata = screen(batches=6, controls=[9, 12, 12, 15, 12, 12])
    adata.obs["plate"] = adata.obs["plate"].astype(str)
    adata.obs["batch"] = adata.obs["plate"].map(lambda plate: f"batch{int(plate[-1]) // 2}")
    adata.obs["well"] = [f"A{number:03d}" for number in adata.obs.groupby("plate").cumcount()]
    adata.obs["row"], adata.obs["column"] = 1, 1
    adata.X[7, 3] = np.nan
    paths = []
    for plate, own in adata.obs.groupby("plate"):
        embeddings, wells = tmp_path / f"{plate}.h5ad", tmp_path / f"{plate}.wells.parquet"
        own.astype(str).astype({"row": int, "column": int}).to_parquet(wells)
        measured = adata[own.index].copy()
        measured.obs = measured.obs[["plate", "well"]]
        measured.write_h5ad(embeddings)
        paths.append((embeddings, wells))
    return paths


def run(files, folder, *, fitted=None, **options):
    """Fit on some plates, align all; return where the aligned wells are."""
    fit, output = folder / "a.fit.h5", folder / "a.h5ad"
    embeddings, wells = zip(*files[:fitted], strict=True)
    fit_plates(embeddings, wells, fit=fit, manifest=folder / "a.fit.json", **options)
    embeddings, wells = zip(*files, strict=True)
    align_plates(embeddings, wells, fit=fit, output=output, manifest=folder / "a.json")
    return output


def in_memory(files):
    return annotate(*zip(*((anndata.read_h5ad(path), read_wells(wells)) for path, wells in files), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_files_give_what_memory_gives(files, method, tmp_path):
    written = anndata.read_h5ad(run(files, tmp_path, method=method, pca=12))
    adata = in_memory(files)
    expected = fit_alignment(adata, method=method, pca=12).apply(adata)
    assert written.obs.equals(expected.obs)
    assert written.uns["cellmae"]["wells"] == {"kept": 191, "unannotated": 0, "not_finite": 1, "not_embedded": 0}
    np.testing.assert_array_equal(written.X, expected.X)
    for key in ("X_pca", "X_tvn", "spatial"):
        np.testing.assert_allclose(written.obsm[key], expected.obsm[key], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(written.varm["PCs"], expected.varm["PCs"], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_result_does_not_depend_on_the_chunks(screen, method):
    adata = screen(batches=5, controls=[0, 1, 3, 12, 60])
    whole, *others = (
        np.concatenate([aligned for *_, aligned in fit_alignment(adata, chunks, method=method, pca=15).stream(adata)])
        for chunks in (ArrayChunks(adata.X), ArrayChunks(adata.X, 7), ArrayChunks(adata.X, 64))
    )
    for other in others:
        np.testing.assert_allclose(other, whole, atol=1e-9 * np.abs(whole).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_repeated_runs_give_the_same_bytes(files, method, tmp_path):
    first, second = (run(files, tmp_path / name, method=method, pca=12, fitted=4) for name in ("a", "b"))
    assert read_manifest(first.with_suffix(".json"), stage="alignment") == read_manifest(
        second.with_suffix(".json"), stage="alignment"
    )
    both = [anndata.read_h5ad(path) for path in (first, second)]
    for key in ("X_pca", "X_tvn"):
        assert both[0].obsm[key].tobytes() == both[1].obsm[key].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_added_plates_move_nothing_and_are_placed_alike_alone(files, method, tmp_path):
    aligned = anndata.read_h5ad(run(files, tmp_path, method=method, pca=12, fitted=4))
    before = anndata.read_h5ad(run(files[:4], tmp_path / "before", method=method, pca=12))
    np.testing.assert_array_equal(aligned[before.obs_names].obsm["X_tvn"], before.obsm["X_tvn"])
    embeddings, wells = zip(*files[4:], strict=True)
    alone = tmp_path / "alone.h5ad"
    align_plates(embeddings, wells, fit=tmp_path / "a.fit.h5", output=alone)
    assert read_manifest(tmp_path / "alone.json", stage="alignment")["plates"] == ["plate4", "plate5"]
    later = anndata.read_h5ad(alone)
    np.testing.assert_array_equal(aligned[later.obs_names].obsm["X_tvn"], later.obsm["X_tvn"])
    assert later.uns["cellmae"]["fit_plates"].tolist() == [f"plate{number}" for number in range(4)]


def test_written_wells_can_be_read_as_far_as_they_are_asked_for(files, tmp_path):
    path = run(files, tmp_path, pca=12)
    backed = anndata.read_h5ad(path, backed="r")
    assert backed.X.shape == (191, 40)
    assert backed[5:9].to_memory().X.dtype == np.float32
    backed.file.close()


@pytest.mark.slow
def test_written_wells_are_what_scanpy_reads(files, tmp_path):
    adata = sc.read_h5ad(run(files, tmp_path, pca=12))
    sc.pp.neighbors(adata, use_rep="X_tvn", n_neighbors=5)
    assert adata.obsp["distances"].shape == (191, 191)
    adata.write_h5ad(tmp_path / "again.h5ad")


def test_annotations_come_without_the_vectors(files):
    adata, chunks = annotate_apart(
        [EmbeddingsFile(path) for path, _ in files], [read_wells(wells) for _, wells in files]
    )
    assert adata.X is None
    assert chunks.shape == adata.shape
    np.testing.assert_array_equal(chunks.read(1), in_memory(files).X[chunks.rows[1]])


def test_failure_while_writing_leaves_the_old_result(files, tmp_path):
    path = run(files, tmp_path, pca=12)
    before = path.read_bytes()
    embeddings, wells = zip(*files, strict=True)
    alignment = Alignment.load(tmp_path / "a.fit.h5")
    embeddings[5].write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"plate5\.h5ad is damaged"):
        align_plates(embeddings, wells, fit=tmp_path / "a.fit.h5", output=path, manifest=tmp_path / "a.json")
    assert path.read_bytes() == before
    assert Alignment.load(tmp_path / "a.fit.h5").digest == alignment.digest


def test_wells_of_harmony_are_refused_when_they_come_later(files, tmp_path):
    pytest.importorskip("harmonypy", reason="needs harmonypy (extra harmony)")
    assert run(files, tmp_path, pca=12, harmony=True).exists()
    with pytest.raises(DataError, match="harmony cannot place wells that were not in its fit"):
        run(files, tmp_path / "later", pca=12, harmony=True, fitted=4)


def test_a_shuffled_alignment_has_the_vectors_of_the_other_and_swapped_names(files, tmp_path):
    folders = [tmp_path / name for name in ("plain", "shuffled")]
    for folder in folders:
        folder.mkdir()
    plain, swapped = (
        anndata.read_h5ad(run(files, folder, pca=10, fitted=4, **options))
        for folder, options in zip(folders, ({}, {"shuffle": 3}), strict=True)
    )
    np.testing.assert_array_equal(plain.obsm["X_tvn"], swapped.obsm["X_tvn"])
    assert swapped.uns["cellmae"]["options"]["shuffle"] == 3
    for plate, own in plain.obs.groupby("plate", observed=True):  # those of the fit, and those that came later
        other = swapped.obs.loc[own.index]
        assert own["role"].equals(other["role"])
        assert (own["perturbation"].astype(str) != other["perturbation"].astype(str)).any(), plate
