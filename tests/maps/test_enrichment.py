"""Hypergeometric tests against a slow loop, and on maps that must not score."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import false_discovery_control, hypergeom

from cellmae.maps import cosine_matrix, enrich, score_enrichment, similarity, unit_vectors
from cellmae.maps.enrichment import cluster, neighbourhoods


def complex_sets(complexes=12, members=4):
    rows = [(f"complex {number}", f"c{number}m{member}") for number in range(complexes) for member in range(members)]
    return pd.DataFrame(rows, columns=["set", "member"])


def random_sets(names, *, number=40, seed=0):
    generator = np.random.default_rng(seed)
    rows = [(f"set {label}", gene) for label in range(number) for gene in generator.choice(names, 6, replace=False)]
    return pd.DataFrame(rows, columns=["set", "member"])


def named(X):
    return AnnData(np.asarray(X, dtype=float), obs=pd.DataFrame(index=[f"g{number}" for number in range(len(X))]))


def slow_tests(groups, sets, names, *, itself):
    """Test every group in every set, one by one."""
    rows = []
    for group, inside in groups.items():
        for label, own in sets.groupby("set"):
            others = [name for name in names if not (itself and name == group)]
            members = set(own["member"]) & set(others)
            overlap = len(members & set(inside))
            p = hypergeom.sf(overlap - 1, len(others), len(members), len(inside))
            rows.append((str(group), label, overlap, p))
    table = pd.DataFrame(rows, columns=["name", "set", "overlap", "p_value"])
    return table.assign(fdr=false_discovery_control(table["p_value"]))


@pytest.mark.parametrize("block_size", [50, 10**6])
def test_every_test_is_that_of_a_slow_loop(complexes, block_size, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_SIZE", block_size)
    adata = complexes(members=4, spread=0.5)
    adata.X[4] = 0
    names = adata.obs_names.delete(4)
    sets = pd.concat([complex_sets(), random_sets(adata.obs_names)])
    labels = pd.Series(np.arange(48) % 5, index=adata.obs_names)
    found, counts = enrich(adata, {"known": sets}, neighbours=4, labels=labels, fdr=0.5)
    cosine = pd.DataFrame(cosine_matrix(adata.X), index=adata.obs_names, columns=adata.obs_names)
    near = {name: cosine.loc[name, names].drop(name).nlargest(4).index for name in names}
    clusters = {label: [name for name in names if labels[name] == label] for label in range(5)}
    for kind, groups in (("neighbourhood", near), ("cluster", clusters)):
        slow = slow_tests(groups, sets, names, itself=kind == "neighbourhood")
        expected = slow[slow["fdr"] <= 0.5].set_index(["name", "set"]).sort_index()
        own = found[found["kind"] == kind].set_index(["name", "set"]).sort_index()
        pd.testing.assert_frame_equal(own[["overlap", "p_value", "fdr"]], expected, check_dtype=False)
        assert (own["members"].str.split().str.len() == own["overlap"]).all()
        row = counts[counts["kind"] == kind].iloc[0]
        assert (row["groups"], row["sets"], row["tests"], row["enriched"]) == (len(groups), 52, len(slow), len(own))
    assert (found["kind"] == "neighbourhood").sum() > 20


def test_complexes_are_found_in_neighbourhoods_and_clusters(complexes):
    found, _ = enrich(complexes(members=4), {"known": complex_sets()}, neighbours=3)
    near = found[found["kind"] == "neighbourhood"]
    assert ("complex " + near["name"].str.extract(r"c(\d+)m")[0] == near["set"]).all()
    assert near["name"].nunique() > 40
    assert found[found["kind"] == "cluster"]["set"].nunique() > 6
    assert (found["fold"] > 1).all()
    assert set(near.set_index("name").loc["c0m0", "members"].split()) == {"c0m1", "c0m2", "c0m3"}


@pytest.mark.parametrize(
    "X",
    [np.full((40, 7), 0.37), np.zeros((40, 7)), np.outer(np.arange(1, 41), [0.3, 0.1, 0.7]), np.full((40, 7), np.nan)],
    ids=["constant", "zero", "parallel", "nan"],
)
def test_maps_without_information_are_enriched_in_nothing(X):
    adata = named(X)
    neighbouring = pd.DataFrame({"set": np.repeat(list("abcdefgh"), 5), "member": adata.obs_names})
    found, counts = enrich(adata, {"known": neighbouring}, neighbours=5)
    assert found.empty
    assert counts["enriched"].fillna(0).sum() == 0
    assert len(counts) == 2


def test_random_vectors_are_hardly_ever_enriched():
    enriched = 0
    for seed in range(10):
        adata = named(np.random.default_rng(seed).normal(size=(80, 8)))
        enriched += len(enrich(adata, {"known": random_sets(adata.obs_names, seed=seed)}, neighbours=5)[0])
    assert enriched <= 3


def test_neighbours_that_tie_at_the_edge_are_left_out():
    X = np.vstack([np.eye(4), np.eye(4)[:1], np.eye(4)[:1], np.ones((1, 4))])
    counts = neighbourhoods(unit_vectors(X), 2).sum(axis=1)
    assert counts.tolist() == [2, 1, 1, 1, 2, 2, 0]


def test_order_of_the_map_does_not_matter(complexes):
    adata = complexes(members=4, spread=0.5)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    labels = pd.Series(np.arange(48) % 7, index=adata.obs_names)
    tables = [enrich(a, {"known": complex_sets()}, neighbours=4, labels=labels)[0] for a in (adata, shuffled)]
    columns = ["kind", "name", "set", "overlap", "p_value", "fdr"]
    first, second = (table[columns].sort_values(columns, ignore_index=True) for table in tables)
    pd.testing.assert_frame_equal(first, second)


def test_labels_may_be_a_clustering_of_others(complexes):
    adata = complexes(members=4)
    adata.obs["leiden"] = pd.Categorical([name.split("m")[0] for name in adata.obs_names])
    adata.obs.loc["c0m0", "leiden"] = None
    found, counts = enrich(adata, {"known": complex_sets()}, labels=adata.obs["leiden"])
    clusters = found[found["kind"] == "cluster"]
    assert sorted(clusters["name"]) == sorted(f"c{number}" for number in range(12))
    assert clusters.set_index("name").loc["c0", "overlap"] == 3
    assert counts.set_index("kind").loc["cluster", "groups"] == 12


def test_clusters_repeat_and_are_no_more_than_there_are_profiles(complexes):
    adata = complexes(members=4)
    units = unit_vectors(adata.X)
    pd.testing.assert_series_equal(cluster(units, adata.obs_names, 6), cluster(units, adata.obs_names, 6))
    assert cluster(units, adata.obs_names, 12).groupby([n.split("m")[0] for n in adata.obs_names]).nunique().max() == 1
    assert cluster(np.repeat(units[:3], 16, axis=0), adata.obs_names, 10).nunique() == 3


@pytest.mark.parametrize(
    ("complexes_in_map", "sets", "reason"),
    [
        (6, {"known": complex_sets()}, "18 perturbations with a profile, of at least 20"),
        (12, {}, "no source names sets"),
        (12, {"yeast": pd.DataFrame({"set": "a", "member": ["YAL1", "YAL2"]})}, "no set has 2 members in the map"),
    ],
)
def test_what_cannot_be_tested_says_why(complexes, complexes_in_map, sets, reason):
    found, counts = enrich(complexes(complexes=complexes_in_map), sets)
    assert found.empty
    assert counts["reason"].tolist() == [reason] * 2
    assert counts["kind"].tolist() == ["neighbourhood", "cluster"]


def test_files_hold_what_the_function_returns(complexes, tmp_path):
    adata = complexes(members=4)
    adata.write_h5ad(tmp_path / "map.h5ad")
    lines = [f"{name}\t{' '.join(own['member'])}" for name, own in complex_sets().groupby("set", sort=False)]
    (tmp_path / "sets.tsv").write_text("\n".join(lines))
    (tmp_path / "pairs.csv").write_text("entity1,entity2\nc0m0,c0m1\n")
    files = {"known": tmp_path / "sets.tsv", "pairs": tmp_path / "pairs.csv"}
    outputs = {"output": tmp_path / "enrichment.csv", "counts": tmp_path / "counts.csv"}
    score_enrichment(tmp_path / "map.h5ad", files, neighbours=3, **outputs)
    expected = enrich(adata, {"known": complex_sets()}, neighbours=3)
    for path, table in zip(outputs.values(), expected, strict=True):
        found = pd.read_csv(path, keep_default_na=False, dtype={"name": str})
        pd.testing.assert_frame_equal(found, table, check_dtype=False)
