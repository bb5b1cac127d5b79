"""The neighbours of a perturbation, and what is known of them."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import false_discovery_control

from cellmae.errors import DataError
from cellmae.maps import Null, cosine_matrix, neighbors, unit_vectors


def test_neighbours_are_those_of_the_whole_matrix(complexes):
    adata = complexes()
    adata.X[4] = 0
    table = neighbors(adata, "c2m1", n=100)
    cosines = pd.Series(cosine_matrix(adata.X)[7], index=adata.obs_names).drop("c2m1").dropna()
    expected = cosines.sort_values(ascending=False, kind="stable")
    assert table["perturbation"].tolist() == expected.index.tolist()
    np.testing.assert_allclose(table["cosine"], expected, atol=1e-12)
    assert table["rank"].tolist() == list(range(1, 35))
    values = np.nan_to_num(cosine_matrix(adata.X)[np.triu_indices(36, k=1)])
    p = [2 * (1 + min((values >= c - 1e-11).sum(), (values <= c + 1e-11).sum())) / 631 for c in table["cosine"]]
    np.testing.assert_allclose(table["p_value"], np.minimum(p, 1))
    np.testing.assert_allclose(table["fdr"], false_discovery_control(table["p_value"]))


def test_nearest_come_first_and_most_opposed_last(complexes):
    adata = complexes()
    adata.X[2] *= -1
    table = neighbors(adata, "c0m0", n=2)
    assert table["perturbation"].iloc[0] == "c0m1"
    assert table["perturbation"].iloc[-1] == "c0m2"
    assert table["rank"].iloc[[0, 1, -1]].tolist() == [1, 2, 35]
    assert len(table) == 4
    assert table["fdr"].iloc[[0, -1]].max() < 0.2


def test_known_pairs_name_their_sources(complexes, known_pairs, tmp_path):
    known_pairs.to_csv(tmp_path / "file.csv", index=False)
    other = pd.DataFrame({"entity1": ["c0m1", "c1m0"], "entity2": ["c0m2", "c1m1"]})
    relationships = {"file": tmp_path / "file.csv", "table": other}
    table = neighbors(complexes(), "c0m2", relationships=relationships, n=100).set_index("perturbation")
    assert table.loc["c0m1", "known"] == "file, table"
    assert table.loc["c0m0", "known"] == "file"
    assert (table["known"] != "").sum() == 2
    assert (neighbors(complexes(), "c0m2")["known"] == "").all()


def test_a_path_and_a_null_of_before_give_the_same(complexes, tmp_path):
    adata = complexes()
    adata.write_h5ad(tmp_path / "map.h5ad")
    expected = neighbors(adata, "c3m0")
    pd.testing.assert_frame_equal(neighbors(tmp_path / "map.h5ad", "c3m0"), expected)
    pd.testing.assert_frame_equal(neighbors(adata, "c3m0", null=Null.of(unit_vectors(adata.X))), expected)


def test_unknown_names_are_answered_with_close_ones(complexes):
    adata = complexes()
    adata.obs_names = ["TP53", "TP53BP1", *adata.obs_names[2:]]
    with pytest.raises(DataError, match="no perturbation 'tp53'; close names are TP53"):
        neighbors(adata, "tp53")
    with pytest.raises(DataError, match="no perturbation 'zzzzz'; it has 36 others"):
        neighbors(adata, "zzzzz")


@pytest.mark.parametrize("row", [0.0, np.nan, np.inf])
def test_without_a_profile_there_are_no_neighbours(complexes, row):
    adata = complexes()
    adata.X[0] = row
    with pytest.raises(DataError, match="c0m0 has no direction"):
        neighbors(adata, "c0m0")


@pytest.mark.parametrize("rows", [np.ones((30, 4)), np.outer(np.arange(1, 31), [0.3, 0.1, 0.7])])
def test_a_map_without_differences_has_no_significant_pair(rows):
    adata = AnnData(rows, obs=pd.DataFrame(index=[f"g{number}" for number in range(30)]))
    table = neighbors(adata, "g3")
    assert (table["p_value"] == 1).all()
    assert (table["rank"] == 1).all()


def test_random_vectors_have_uniform_p_values():
    X = np.random.default_rng(0).normal(size=(300, 40))
    adata = AnnData(X, obs=pd.DataFrame(index=[f"g{number}" for number in range(300)]))
    table = neighbors(adata, "g5", n=1000)
    assert (table["p_value"] < 0.1).mean() == pytest.approx(0.1, abs=0.06)
    assert table["fdr"].min() > 0.05


def test_small_maps_and_duplicated_names(complexes):
    two = complexes(complexes=1, members=2)
    assert neighbors(two, "c0m0")["p_value"].tolist() == [1]
    two.obs_names = ["a", "a"]
    with pytest.raises(DataError, match="a more than once"):
        neighbors(two, "a")
