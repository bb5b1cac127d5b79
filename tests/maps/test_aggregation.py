"""Wells to treatments to perturbations."""

from typing import ClassVar

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.errors import ConfigError, DataError
from cellmae.files import read_manifest
from cellmae.maps import Groups, aggregate, agreement, build_map


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


def test_cosines_of_the_map_are_kept(wells):
    genes = aggregate(wells()[0])[1]
    unit = genes.X / np.linalg.norm(genes.X, axis=1, keepdims=True)
    np.testing.assert_allclose(genes.obsp["cosine"], unit @ unit.T, atol=1e-5)


class Aliases:
    """Two retired symbols, and one that is known."""

    approved: ClassVar = {"P53": "TP53", "HER1": "EGFR", "TP53": "TP53"}

    def resolve(self, names):
        return pd.Index([self.approved.get(name, name) for name in names])

    def unmatched(self, names):
        return pd.Index([name for name in names if name not in self.approved])


def test_perturbations_are_renamed_before_they_are_grouped(caplog):
    adata = small(["g1", "g2", None, "g4"], ["TP53", "P53", "HER1", "new"])
    treatments, genes = aggregate(adata, aliases=Aliases())
    assert genes.obs["treatments"].to_dict() == {"EGFR": 1, "TP53": 2, "new": 1}
    assert treatments.obs_names.tolist() == ["EGFR", "g1", "g2", "g4"]
    assert {key: genes.uns["cellmae"][key] for key in ("renamed", "unmatched")} == {"renamed": 2, "unmatched": 1}


def test_odd_names_are_cleaned_counted_or_kept_apart(caplog):
    adata = small(["a"] * 7, [" TP53", "TP53 ", "tp53", "", "  ", None, "EGFR"])
    with caplog.at_level("WARNING", logger="cellmae"):
        genes = aggregate(adata)[1]
    assert genes.obs["wells"].to_dict() == {"EGFR": 1, "TP53": 2, "tp53": 1}
    assert genes.uns["cellmae"]["unnamed_wells"] == 3
    assert "differ in nothing but case are kept apart: TP53, tp53" in caplog.text
    assert "3 wells without a perturbation" in caplog.text


def test_wells_without_a_finite_profile_are_left_out_and_listed(caplog):
    X = np.array([[1.0, 2], [np.nan, 0], [np.inf, -np.inf], [3, 4]], dtype=np.float32)
    with caplog.at_level("WARNING", logger="cellmae"):
        genes = aggregate(small(["a", "a", "b", "c"], ["a", "a", "b", "c"], X=X))[1]
    assert genes.obs_names.tolist() == ["a", "c"]
    assert genes.X.tolist() == [[1, 2], [3, 4]]
    assert genes.uns["cellmae"]["undefined_wells"] == 2
    assert "2 without a finite profile; perturbations lost: b" in caplog.text


def test_wells_that_disagree_weigh_less():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=30)
    X = np.vstack([signal + 0.1 * generator.normal(size=(3, 30)), -signal]).astype(np.float32)
    weights = agreement(X, Groups.of(["g"] * 4))
    assert weights.sum() == pytest.approx(1)
    assert weights[3] == pytest.approx(0.01 / (0.01 + 3 * weights[0] / weights[3] * 0.01), rel=0.1)
    equal, weighted = (
        aggregate(small(["g"] * 4, ["g"] * 4, X=X), weights=weights)[1].X[0] for weights in ("equal", "agreement")
    )
    assert np.linalg.norm(weighted - signal) < 0.3 * np.linalg.norm(equal - signal)
    assert agreement(X[:2], Groups.of(["a", "b"])).tolist() == [1, 1]
    with pytest.raises(ConfigError, match=r"^maps\.weights: found 'agreement'"):
        aggregate(small(["g"], ["g"]), how="median", weights="agreement")


def test_controls_alone_make_no_map():
    with pytest.raises(DataError, match="all wells are negative controls"):
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
@pytest.mark.parametrize("level", [0, 1], ids=["treatments", "perturbations"])
def test_scanpy_takes_both_levels_as_they_are(wells, tmp_path, level):
    sc = pytest.importorskip("scanpy")
    pytest.importorskip("igraph")
    aggregate(wells()[0])[level].write_h5ad(tmp_path / "map.h5ad")
    adata = sc.read_h5ad(tmp_path / "map.h5ad")
    sc.pp.neighbors(adata, use_rep="X", metric="cosine", n_neighbors=5)
    sc.tl.umap(adata)
    sc.tl.leiden(adata, flavor="igraph")
    sc.pl.umap(adata, color=["consistency", "leiden"], show=False)
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert adata.obs["leiden"].nunique() > 1


@pytest.mark.slow
def test_pertpy_takes_wells_and_treatments(wells):
    distances = pytest.importorskip("pertpy.tools", reason="needs pertpy, which is no part of cellmae")
    treatments = aggregate(wells()[0])[0]
    table = distances.Distance("edistance", obsm_key="X").pairwise(treatments, groupby="perturbation")
    assert np.isfinite(table.to_numpy()).all()
