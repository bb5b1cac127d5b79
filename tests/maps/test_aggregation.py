"""Wells to treatments to perturbations."""

from itertools import combinations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.errors import DataError
from cellmae.files import read_manifest
from cellmae.maps import aggregate, build_map, consistency


def small(treatments, perturbations, roles=None, X=None):
    obs = pd.DataFrame({"treatment": treatments, "perturbation": perturbations, "batch": "b"})
    obs["role"] = roles or "treatment"
    obs.index = obs.index.astype(str)
    X = np.arange(len(obs), dtype=np.float32)[:, None] * [[1, 2]] if X is None else X
    return AnnData(X, obs=obs, obsm={"X_tvn": X})


@pytest.mark.parametrize(("how", "expected"), [("mean", (1 + 3) / 2), ("median", (1 + 3) / 2)])
def test_treatments_weigh_the_same_however_many_wells_they_have(how, expected):
    treatments, genes = aggregate(small(["g1", "g1", "g1", "g2"], ["g"] * 4), how=how)
    assert treatments.X[:, 0].tolist() == [1, 3]
    assert genes.X[:, 0].tolist() == [expected]
    assert genes.obs.loc["g", ["wells", "treatments", "batches"]].tolist() == [4, 2, 1]


def test_median_does_not_follow_an_outlier():
    X = np.array([[0.0], [1], [1000]], dtype=np.float32)
    adata = small(["g1"] * 3, ["g"] * 3, X=X)
    assert [aggregate(adata, how=how)[1].X.item() for how in ("mean", "median")] == [pytest.approx(1001 / 3), 1]


def test_negative_controls_are_left_out_and_counted(wells):
    adata, _ = wells()
    treatments, genes = aggregate(adata)
    assert (treatments.n_obs, genes.n_obs) == (48, 24)
    assert "control" not in genes.obs_names
    assert genes.uns["cellmae"]["negative_control_wells"] == 24
    assert genes.obs["batches"].eq(2).all()
    assert (genes.X.dtype, genes.obs["role"].dtype) == (np.float32, "category")


def test_positive_controls_stay():
    roles = ["positive_control", "positive_control", "treatment"]
    genes = aggregate(small(["p1", "p2", "g1"], ["p", "p", "g"], roles))[1]
    assert genes.obs["role"].to_dict() == {"g": "treatment", "p": "positive_control"}


def test_treatment_labels_are_made_unique_and_default_to_the_perturbation():
    treatments, genes = aggregate(small(["1uM", "1uM", None], ["a", "b", "c"]))
    assert treatments.obs_names.tolist() == ["a_1uM", "b_1uM", "c"]
    assert genes.obs_names.tolist() == ["a", "b", "c"]


def test_consistency_is_the_mean_cosine_of_all_pairs():
    generator = np.random.default_rng(0)
    X, groups = generator.normal(size=(40, 5)), generator.integers(0, 6, size=40)
    X[groups == 0] = X[groups == 0][:1]
    X[np.flatnonzero(groups == 1)[0]] = 0
    found = consistency(X, groups)
    for label in range(6):
        rows = [row / np.linalg.norm(row) for row in X[groups == label] if row.any()]
        assert found[label] == pytest.approx(np.mean([a @ b for a, b in combinations(rows, 2)]))
    assert found[0] == pytest.approx(1)
    assert np.isnan(consistency(X[:1], groups[:1]).item())


def test_cosines_of_the_map_are_kept(wells):
    genes = aggregate(wells()[0])[1]
    unit = genes.X / np.linalg.norm(genes.X, axis=1, keepdims=True)
    np.testing.assert_allclose(genes.obsp["cosine"], unit @ unit.T, atol=1e-5)


def test_controls_alone_make_no_map():
    with pytest.raises(DataError, match="all 2 wells are negative controls"):
        aggregate(small(["c", "c"], ["c", "c"], ["negative_control"] * 2))


def test_files_and_manifest_agree(wells, tmp_path):
    wells()[0].write_h5ad(tmp_path / "tvn.h5ad")
    digests = []
    for name in ("first", "second"):
        folder = tmp_path / name
        build_map(
            tmp_path / "tvn.h5ad",
            model="mae",
            alignment="tvn",
            treatments=folder / "treatments.h5ad",
            output=folder / "map.h5ad",
            manifest=folder / "map.json",
        )
        manifest = read_manifest(folder / "map.json", stage="maps")
        digests.append(manifest["digest"])
    assert digests[0] == digests[1]
    assert (manifest["model"], manifest["alignment"]) == ("mae", "tvn")
    assert (manifest["perturbations"], manifest["treatments"], manifest["wells"]) == (24, 48, 216)
    adata = anndata.read_h5ad(tmp_path / "first" / "map.h5ad")
    assert adata.uns["cellmae"]["model"] == "mae"
    assert adata.uns["cellmae"]["stage"] == "maps"


@pytest.mark.slow
def test_scanpy_takes_the_map_as_it_is(wells, tmp_path):
    sc = pytest.importorskip("scanpy")
    pytest.importorskip("igraph")
    genes = aggregate(wells()[0])[1]
    genes.write_h5ad(tmp_path / "map.h5ad")
    adata = sc.read_h5ad(tmp_path / "map.h5ad")
    sc.pp.neighbors(adata, use_rep="X", metric="cosine", n_neighbors=5)
    sc.tl.umap(adata)
    sc.tl.leiden(adata, flavor="igraph")
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert adata.obs["leiden"].nunique() > 1
