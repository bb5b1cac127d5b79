"""Scores of single sets against a slow loop, and on maps that must not score."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.maps import cosine_matrix, read_sets, recall, recall_sets, score_recall, score_sets
from cellmae.maps.recall import recalled
from cellmae.maps.relationships import pairs_of_sets

THRESHOLDS = [(0.05, 0.95), (0.1, 0.9)]


def complex_sets(complexes=12, members=3):
    rows = [(f"complex {number}", f"c{number}m{member}") for number in range(complexes) for member in range(members)]
    return pd.DataFrame(rows, columns=["set", "member"])


def random_sets(names, *, number=60, seed=0):
    generator = np.random.default_rng(seed)
    rows = [
        (f"set {label}", member)
        for label in range(number)
        for member in generator.choice(names, generator.integers(2, 8), replace=False)
    ]
    return pd.DataFrame(rows, columns=["set", "member"])


def scores(adata, sets, **options):
    pairs = recall(adata, {"known": pairs_of_sets(sets)}, replicates=0)[1]
    return recall_sets(adata, {"known": sets}, pairs, **options)


def test_each_set_is_scored_as_a_slow_loop_does(complexes):
    adata = complexes(spread=1)
    adata.X[5] = 0
    sets = pd.concat([complex_sets(), random_sets(adata.obs_names)])
    sets.loc[len(sets)] = ("complex 0", "elsewhere")
    pairs = recall(adata, {"known": pairs_of_sets(sets)}, replicates=0)[1]
    table = recall_sets(adata, {"known": sets}, pairs, thresholds=THRESHOLDS, draws=20).set_index("set")
    cosine = pd.DataFrame(cosine_matrix(adata.X), index=adata.obs_names, columns=adata.obs_names)
    for name, own in sets.groupby("set"):
        members = sorted(set(own["member"]) & set(adata.obs_names))
        both = pd.DataFrame(list(combinations(members, 2)), columns=["entity1", "entity2"]).merge(pairs)
        row = table.loc[name]
        assert (row["listed"], row["members"], row["pairs"]) == (len(own), len(members), len(both))
        for low, high in THRESHOLDS:
            assert row[f"recall_{low:g}_{high:g}"] == pytest.approx(recalled(both, low, high).mean())
        expected = pd.Series([cosine.loc[a, b] for a, b in combinations(members, 2)]).mean()
        assert row["mean_cosine"] == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_true_sets_are_told_from_random_ones(complexes):
    adata = complexes()
    table = scores(adata, pd.concat([complex_sets(), random_sets(adata.obs_names)]))
    true = table["set"].str.startswith("complex")
    assert table["fdr"][true].max() < 0.02
    assert (table["fdr"][~true] < 0.05).mean() < 0.1
    assert table["recall_0.05_0.95"][true].mean() > 0.8


def test_p_values_of_random_sets_are_uniform():
    X = np.random.default_rng(1).normal(size=(80, 6))
    adata = AnnData(X, obs=pd.DataFrame(index=[f"g{number}" for number in range(80)]))
    table = scores(adata, random_sets(adata.obs_names, number=400), draws=1000)
    assert np.quantile(table["p_value"], [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.07)
    assert table["fdr"].min() > 0.05


@pytest.mark.parametrize(
    "X",
    [np.full((30, 7), 0.37), np.zeros((30, 7)), np.outer(np.arange(1, 31), [0.3, 0.1, 0.7]), np.full((30, 7), np.inf)],
    ids=["constant", "zero", "parallel", "infinite"],
)
def test_maps_without_information_score_nothing(X):
    adata = AnnData(X, obs=pd.DataFrame(index=[f"g{number}" for number in range(30)]))
    table = scores(adata, random_sets(adata.obs_names), draws=50)
    assert (table["recall_0.05_0.95"] == 0).all()
    assert (table["p_value"].isna() | (table["p_value"] == 1)).all()
    assert (table["p_value"].isna() == (table["reason"] != "")).all()


def test_sets_that_cannot_be_scored_say_why(complexes):
    adata = complexes()
    adata.X[:2] = 0
    rows = [
        ("one", "c1m0"),
        ("one", "absent"),
        ("none", "absent"),
        ("flat", "c0m0"),
        ("flat", "c0m1"),
        ("flat", "c0m2"),
    ]
    sets = pd.DataFrame([*rows, ("good", "c1m0"), ("good", "c1m1")], columns=["set", "member"])
    table = scores(adata, sets, draws=50).set_index("set")
    absent = "fewer than 2 members in the map"
    flat = "fewer than 2 members with a profile that has a direction"
    assert table["reason"].to_dict() == {"one": absent, "none": absent, "flat": flat, "good": ""}
    assert table["p_value"].notna().tolist() == [False, False, False, True]
    assert table["members"].tolist() == [1, 0, 3, 2]


def test_small_maps_are_skipped_with_a_reason(complexes):
    table = scores(complexes(complexes=6), complex_sets(), draws=50)
    assert table["reason"].unique().tolist() == ["18 perturbations in the map, of at least 20"]
    assert table[["recall_0.05_0.95", "mean_cosine", "p_value", "fdr"]].isna().all(axis=None)


def test_same_seed_same_numbers(complexes):
    tables = [scores(complexes(spread=1), complex_sets(), draws=100, seed=seed) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_files_hold_what_the_function_returns(complexes, known_pairs, tmp_path):
    adata = complexes()
    adata.write_h5ad(tmp_path / "map.h5ad")
    known_pairs.to_csv(tmp_path / "pairs.csv", index=False)
    lines = [f"{name}\t\t" + "\t".join(own["member"]) for name, own in complex_sets().groupby("set", sort=False)]
    (tmp_path / "sets.gmt").write_text("\n".join(lines))
    files = {"pairs": tmp_path / "pairs.csv", "sets": tmp_path / "sets.gmt"}
    score_recall(
        tmp_path / "map.h5ad", files, output=tmp_path / "recall.csv", pairs=tmp_path / "p.parquet", replicates=1
    )
    score_sets(tmp_path / "map.h5ad", files, pairs=tmp_path / "p.parquet", output=tmp_path / "sets.csv")
    table = pd.read_csv(tmp_path / "sets.csv", keep_default_na=False)
    expected = scores(adata, read_sets(files["sets"])).assign(source="sets")
    np.testing.assert_allclose(table["p_value"], expected["p_value"])
    assert table["source"].unique().tolist() == ["sets"]
    score_sets(
        tmp_path / "map.h5ad",
        {"pairs": files["pairs"]},
        pairs=tmp_path / "p.parquet",
        output=tmp_path / "sets.csv",
    )
    empty = pd.read_csv(tmp_path / "sets.csv")
    assert empty.empty
    assert list(empty) == list(table)
