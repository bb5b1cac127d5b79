"""Recall against a slow count, and on maps that must not score."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.errors import ConfigError, DataError
from cellmae.maps import oracle, read_relationships, recall, score_recall
from cellmae.maps.similarity import Null, cosine_matrix

THRESHOLDS = [(0.05, 0.95), (0.1, 0.9)]


def named(X):
    return AnnData(np.asarray(X, dtype=np.float32), obs=pd.DataFrame(index=[f"g{i}" for i in range(len(X))]))


def random_pairs(names, number, seed=0):
    generator = np.random.default_rng(seed)
    pairs = {tuple(sorted(generator.choice(names, 2, replace=False))) for _ in range(number)}
    return pd.DataFrame(sorted(pairs), columns=["entity1", "entity2"])


def differ(arms, a, b):
    return a in arms and b in arms and arms[a] != arms[b]


def slow_recall(X, names, pairs, low, high, arms=None):
    """Count, pair by pair, as the rule says; zero vectors have cosine zero and are never recalled."""
    arms = arms or {}
    length = np.linalg.norm(X, axis=1)
    unit = X / np.where(length > 0, length, 1)[:, None]
    cosine = {(a, b): round(float(unit[a] @ unit[b]), 12) for a in range(len(X)) for b in range(a)}
    null = [value for (a, b), value in cosine.items() if not arms or differ(arms, names[a], names[b])]
    pairs = pairs[[not arms or differ(arms, *pair) for pair in pairs.to_numpy()]]
    hits = 0
    for first, second in pairs.to_numpy():
        a, b = sorted((names.index(first), names.index(second)), reverse=True)
        at_or_below = sum(value <= cosine[a, b] for value in null) / len(null)
        below = sum(value < cosine[a, b] for value in null) / len(null)
        hits += length[a] > 0 and length[b] > 0 and (at_or_below <= low or below >= high)
    return hits / len(pairs)


@pytest.mark.parametrize("kind", ["random", "ties", "zeros"])
def test_recall_is_the_slow_count(kind):
    generator = np.random.default_rng(1)
    X = generator.normal(size=(30, 4))
    if kind == "ties":
        X = np.sign(X[:, :2])
    if kind == "zeros":
        X[::5] = 0
    adata = named(X)
    pairs = random_pairs(adata.obs_names, 80)
    table, _ = recall(adata, {"known": pairs}, thresholds=THRESHOLDS, replicates=0)
    for row in table.itertuples():
        expected = slow_recall(adata.X.astype(float), list(adata.obs_names), pairs, row.low, row.high)
        assert row.recall == pytest.approx(expected, abs=1e-12)
        assert row.recall == pytest.approx(row.recall_low + row.recall_high)


def test_pairs_of_one_arm_count_neither_as_known_nor_in_the_null():
    generator = np.random.default_rng(5)
    adata = named(generator.normal(size=(30, 4)))
    pairs = random_pairs(adata.obs_names, 90)
    arms = pd.Series(generator.choice(["1p", "1q", "2p"], 27), index=adata.obs_names[:27])
    arms["elsewhere"] = "2p"
    table, ranked = recall(adata, {"known": pairs}, thresholds=THRESHOLDS, replicates=30, arms=arms)
    assert table["pairs_kept"].tolist() == ["all", "all", "different_arms", "different_arms"]
    for row in table.itertuples():
        given = arms.to_dict() if row.pairs_kept == "different_arms" else None
        expected = slow_recall(adata.X.astype(float), list(adata.obs_names), pairs, row.low, row.high, given)
        assert row.recall == pytest.approx(expected, abs=1e-12)
        assert row.chance == pytest.approx(2 * row.low, abs=0.01)
    without = recall(adata, {"known": pairs}, thresholds=THRESHOLDS, replicates=30)
    pd.testing.assert_frame_equal(table.iloc[:2], without[0])
    pd.testing.assert_frame_equal(ranked, without[1])


def test_what_proximity_alone_brings_near_is_no_longer_recalled():
    generator = np.random.default_rng(6)
    arm = np.repeat(np.arange(10), 6)
    adata = named(generator.normal(size=(10, 12))[arm] + 0.5 * generator.normal(size=(60, 12)))
    arms = pd.Series(arm.astype(str), index=adata.obs_names)
    near = [(a, b) for a in range(60) for b in range(a) if arm[a] == arm[b]]
    pairs = pd.DataFrame([(f"g{min(pair)}", f"g{max(pair)}") for pair in near[::3]], columns=["entity1", "entity2"])
    pairs = pd.concat([pairs, random_pairs(adata.obs_names, 60)]).drop_duplicates()
    everything, apart = recall(adata, {"known": pairs}, arms=arms)[0].to_dict("records")
    assert everything["recall"] > 0.3
    assert everything["p_value"] < 0.01
    assert apart["recall"] < 0.2


def test_arms_of_no_perturbation_are_a_reason(complexes, known_pairs):
    table, _ = recall(complexes(), {"known": known_pairs}, replicates=20, arms=pd.Series({"TP53": "17p"}))
    assert table["recall"].notna().tolist() == [True, False]
    assert table["reason"].tolist() == ["", "no known pair of known is on different arms, as far as they are known"]


def test_one_sided_recalls_add_up_and_have_intervals(complexes, known_pairs):
    row = recall(complexes(spread=1), {"known": known_pairs}, replicates=300)[0].iloc[0]
    assert row["recall"] == pytest.approx(row["recall_low"] + row["recall_high"])
    for side in ("recall_low", "recall_high"):
        assert row[f"{side}_ci_low"] <= row[side] <= row[f"{side}_ci_high"]
    assert row["recall_high_ci_high"] > row["recall_high_ci_low"]


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float64])
def test_profiles_may_be_of_any_type(dtype, known_pairs, complexes):
    adata = complexes()
    X = np.round(8 * adata.X)
    tables = [
        recall(AnnData(X.astype(kind), obs=adata.obs), {"known": known_pairs}, replicates=0)[0]
        for kind in (dtype, np.float32)
    ]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.95), (0.1, 0.9), (0.0, 1.0), (1 / 3, 2 / 3), (0.29, 0.3)])
def test_bounds_say_the_same_as_shares(low, high):
    cosines = np.round(np.random.default_rng(2).normal(size=(25, 25)), 1)
    null = Null(np.sort(cosines[np.triu_indices(25, k=1)]))
    values = null.values
    lower, upper = null.bounds(low, high)
    np.testing.assert_array_equal(values < lower, null.share_at_or_below(values) <= low)
    np.testing.assert_array_equal(values > upper, null.share_below(values) >= high)


def test_random_vectors_score_chance():
    tables = []
    for seed in range(20):
        adata = named(np.random.default_rng(seed).normal(size=(60, 8)))
        table, _ = recall(adata, {"known": random_pairs(adata.obs_names, 150, seed)}, replicates=200)
        tables.append(table)
    table = pd.concat(tables)
    assert table["recall"].mean() == pytest.approx(0.1, abs=0.02)
    assert table["chance"].to_numpy() == pytest.approx(0.1, abs=0.002)
    assert (table["p_value"] < 0.05).sum() <= 4
    assert ((table["recall_ci_low"] < 0.1) & (table["recall_ci_high"] > 0.1)).sum() >= 16


@pytest.mark.parametrize(
    "X",
    [
        np.full((30, 7), 0.37),
        np.zeros((30, 7)),
        np.outer(np.linspace(0.1, 9, 30), [0.3, 0.1, 0.7]),
        np.full((30, 7), np.nan),
        np.full((30, 7), np.inf),
    ],
    ids=["constant", "zero", "parallel", "nan", "infinite"],
)
def test_maps_without_information_score_nothing(X):
    adata = named(X)
    table, pairs = recall(adata, {"known": random_pairs(adata.obs_names, 60)}, replicates=100)
    assert table[["recall", "recall_low", "recall_high", "chance", "recall_ci_high"]].to_numpy().max() == 0
    assert table["p_value"].item() == 1
    assert len(pairs) == table["pairs"].item() > 0


def test_known_complexes_are_recalled_beyond_chance(complexes, known_pairs):
    row = recall(complexes(), {"known": known_pairs})[0].iloc[0]
    assert row["recall"] == pytest.approx(31 / 36)  # all that one twentieth of 630 pairs has room for
    assert row["recall_ci_low"] > row["chance_ci_high"]
    assert row["p_value"] < 0.002
    assert (row["pairs"], row["genes"], row["map_genes"]) == (36, 36, 36)


def test_opposite_members_are_recalled_in_the_low_tail(complexes, known_pairs):
    adata = complexes()
    adata.X[::3] *= -1
    row = recall(adata, {"known": known_pairs}, replicates=0)[0].iloc[0]
    assert row["recall_low"] > 0.5
    assert row["recall_high"] > 0.2


def test_order_of_the_map_does_not_matter(complexes, known_pairs):
    adata = complexes(spread=1)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    first, second = (recall(a, {"known": known_pairs}, replicates=0)[0]["recall"].item() for a in (adata, shuffled))
    assert first == second


def test_same_seed_same_numbers(complexes, known_pairs):
    tables = [recall(complexes(), {"known": known_pairs}, replicates=50, seed=seed)[0] for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_small_maps_are_skipped_with_a_reason(complexes, known_pairs):
    table, pairs = recall(complexes(complexes=6), {"known": known_pairs}, thresholds=THRESHOLDS)
    assert table["recall"].isna().all()
    assert table["reason"].tolist() == ["18 perturbations, of at least 20 that recall needs"] * 2
    assert pairs.empty


def test_no_relationship_file_is_a_reason(complexes):
    assert recall(complexes(), {})[0]["reason"].tolist() == ["no relationship file"]


def test_source_without_known_gene_is_skipped_beside_others(complexes, known_pairs):
    yeast = pd.DataFrame({"entity1": ["YAL001C"], "entity2": ["YAL002W"]})
    table, pairs = recall(complexes(), {"yeast": yeast, "known": known_pairs}, replicates=0)
    assert table["recall"].notna().tolist() == [False, True]
    assert "names YAL001C, YAL002W, the map c0m0, c0m1, c0m2, c1m0 and 32 more" in table["reason"].iloc[0]
    assert pairs["source"].unique().tolist() == ["known"]


def test_no_known_gene_at_all_is_an_error(complexes):
    yeast = pd.DataFrame({"entity1": ["YAL001C"], "entity2": ["YAL002W"]})
    with pytest.raises(DataError, match=r"yeast has no pair .* names YAL001C, YAL002W, the map c0m0"):
        recall(complexes(), {"yeast": yeast})


def test_perturbation_twice_is_an_error(complexes, known_pairs):
    adata = complexes()
    adata.obs_names = ["c0m0", "c0m0", *adata.obs_names[2:]]
    with pytest.raises(DataError, match="c0m0 more than once"):
        recall(adata, {"known": known_pairs})


@pytest.mark.parametrize("thresholds", [(0.95, 0.05), (5, 95), (0.5, 0.5)])
def test_thresholds_that_make_no_tails_are_refused(complexes, known_pairs, thresholds):
    with pytest.raises(ConfigError, match="expected two shares, the lower one first"):
        recall(complexes(), {"known": known_pairs}, thresholds=[thresholds])


def test_identical_profiles_have_identical_cosines():
    X = np.random.default_rng(3).normal(size=(3, 50))
    cosine = cosine_matrix(np.tile(X, (21, 1)))
    assert len(np.unique(cosine)) == 4
    assert np.isnan(cosine_matrix(np.vstack([X, np.zeros((1, 50))]))[3]).all()


def test_oracle_finds_complexes_but_no_gene_without_effect():
    effects = np.repeat(np.random.default_rng(4).normal(size=(10, 5)), 2, axis=0)
    effects[-4:] = 0
    genes = [f"g{number}" for number in range(20)]
    truth = pd.DataFrame(effects).add_prefix("axis")
    truth.insert(0, "perturbation", genes)
    truth.index = [f"{gene}_guide" for gene in genes]
    pairs = pd.DataFrame({"entity1": genes[::2], "entity2": genes[1::2]})
    table, _ = recall(oracle(truth, pd.Index(genes)), {"known": pairs}, replicates=0)
    assert table["recall"].item() == pytest.approx(0.8)


def test_files_hold_what_the_function_returns(complexes, known_pairs, tmp_path):
    adata = complexes()
    adata.write_h5ad(tmp_path / "map.h5ad")
    known_pairs.to_csv(tmp_path / "known.csv", index=False)
    truth = pd.DataFrame(adata.X, index=[f"{name}_guide" for name in adata.obs_names]).add_prefix("axis")
    truth.insert(0, "perturbation", adata.obs_names)
    truth.rename_axis("treatment").to_parquet(tmp_path / "truth.parquet")
    score_recall(
        tmp_path / "map.h5ad",
        {"known": tmp_path / "known.csv"},
        output=tmp_path / "recall.csv",
        pairs=tmp_path / "pairs.parquet",
        missing=tmp_path / "unmatched.csv",
        replicates=50,
        truth=tmp_path / "truth.parquet",
    )
    known = read_relationships(tmp_path / "known.csv")
    expected, pairs = recall(anndata.read_h5ad(tmp_path / "map.h5ad"), {"known": known}, replicates=50)
    table = pd.read_csv(tmp_path / "recall.csv")
    assert table["recall"].item() == expected["recall"].item() == table["oracle"].item()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "pairs.parquet"), pairs)
    assert pd.read_csv(tmp_path / "unmatched.csv").empty
