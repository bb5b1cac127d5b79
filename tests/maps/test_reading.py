"""Files that are read, and those that are refused in one line."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import cellmae.alignment
import cellmae.maps
from cellmae.errors import DataError
from cellmae.maps import neighbors, read_map, read_stage, score_enrichment, score_recall
from cellmae.maps.reading import profiles


@pytest.fixture
def path(tmp_path, complexes):
    adata = complexes()
    adata.uns["cellmae"] = {"stage": "maps", "version": cellmae.maps.VERSION}
    adata.obsp["cosine"] = np.eye(adata.n_obs, dtype=np.float32)
    adata.write_h5ad(tmp_path / "map.h5ad")
    return tmp_path / "map.h5ad"


def newer(path):
    adata = anndata.read_h5ad(path)
    adata.uns["cellmae"]["version"] = cellmae.maps.VERSION + 1
    adata.write_h5ad(path)


def test_a_map_is_read_without_its_cosines(path):
    adata, whole = read_map(path), read_stage(path)
    np.testing.assert_array_equal(adata.X, whole.X)
    assert list(adata.obs_names) == list(whole.obs_names)
    assert "cosine" in whole.obsp
    assert "cosine" not in adata.obsp


def test_files_of_a_newer_version_are_refused_everywhere(path, tmp_path):
    newer(path)
    outputs = {name: tmp_path / name for name in ("recall.csv", "pairs.parquet", "enrichment.csv", "counts.csv")}
    calls = [
        lambda: read_map(path),
        lambda: read_stage(path),
        lambda: neighbors(path, "c0m0"),
        lambda: score_recall(path, {}, output=outputs["recall.csv"], pairs=outputs["pairs.parquet"]),
        lambda: score_enrichment(path, {}, output=outputs["enrichment.csv"], counts=outputs["counts.csv"]),
    ]
    expected = f"version {cellmae.maps.VERSION + 1} of the stage maps, this cellmae knows versions up to"
    for call in calls:
        with pytest.raises(DataError, match=expected) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not any(output.exists() for output in outputs.values())


def test_wells_are_judged_by_the_version_of_their_own_stage(path):
    adata = anndata.read_h5ad(path)
    adata.uns["cellmae"] = {"stage": "alignment", "version": cellmae.alignment.VERSION}
    adata.write_h5ad(path)
    assert read_stage(path).n_obs == adata.n_obs


def test_maps_of_others_are_read(path):
    adata = anndata.read_h5ad(path)
    del adata.uns["cellmae"]
    adata.write_h5ad(path)
    assert read_map(path).n_obs == adata.n_obs


@pytest.mark.parametrize("content", [None, b"no HDF5 at all"])
@pytest.mark.parametrize("read", [read_map, read_stage])
def test_missing_and_broken_files_are_refused(tmp_path, content, read):
    path = tmp_path / "map.h5ad"
    if content:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as AnnData") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_profiles_of_any_numbers_are_dense_float64():
    X = np.arange(6).reshape(3, 2)
    obs = pd.DataFrame(index=["a", "b", "c"])
    for numbers in (X, X.astype(np.float16), sparse.csr_matrix(X.astype(np.float32)), X > 2):
        found = profiles(AnnData(numbers, obs=obs))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, numbers.toarray() if sparse.issparse(numbers) else numbers)


def test_profiles_of_mixed_types_are_refused():
    adata = AnnData(np.array([["1", "x"], [2, None]], dtype=object), obs=pd.DataFrame(index=["a", "b"]))
    with pytest.raises(DataError, match="profiles of the map are object: expected numbers"):
        profiles(adata)
