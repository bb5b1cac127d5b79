"""Paired comparisons: resampling against a slow loop, and answers that are known."""

import numpy as np
import pandas as pd
import pytest

from cellmae.files import write_manifest
from cellmae.maps import compare_models, compare_probes, compare_recalls, probe, recall
from cellmae.maps.bootstrap import interval, p_value, resampled_shares, resamples


def pairs_of(adata, known):
    return recall(adata, {"known": known}, replicates=0)[1]


def test_resampled_shares_are_those_of_a_slow_loop():
    generator = np.random.default_rng(0)
    pairs = np.array([(a, b) for a in range(8) for b in range(a) if generator.random() < 0.5]) + 3
    hits = generator.random((len(pairs), 2)) < 0.4
    members = np.unique(pairs)
    found = resampled_shares(pairs, hits, replicates=300, seed=7)
    draws = np.concatenate(list(resamples(len(members), replicates=300, seed=7)))
    assert (draws.sum(axis=1) == len(members)).all()
    for draw, shares in zip(draws[::50], found[::50], strict=True):
        count = dict(zip(members, draw, strict=True))
        weights = np.array([count[a] * count[b] for a, b in pairs])
        np.testing.assert_allclose(shares, weights @ hits / weights.sum())


def test_draws_without_a_pair_are_undefined_and_left_out():
    shares = resampled_shares(np.array([[0, 1]]), np.array([[True]]), replicates=200, seed=0)
    assert np.isnan(shares).any()
    assert interval(shares[:, 0]) == (1, 1)
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_interval_of_pairs_that_share_genes_is_wider_than_that_of_independent_ones():
    shared = np.array([(a, b) for a in range(8) for b in range(a)])
    apart = np.arange(2 * len(shared)).reshape(-1, 2)
    hits = (shared < 2).any(axis=1)[:, None]
    widths = [np.ptp(interval(resampled_shares(pairs, hits, replicates=500, seed=0))) for pairs in (shared, apart)]
    assert widths[0] > 1.2 * widths[1]


def test_p_value_is_two_sided_and_never_zero():
    assert p_value(np.ones(99)) == pytest.approx(0.02)
    assert p_value(-np.ones(99)) == pytest.approx(0.02)
    assert p_value(np.array([-1.0, 1.0])) == 1


def test_map_against_itself_makes_no_difference(complexes, known_pairs):
    pairs = pairs_of(complexes(), known_pairs)
    row = compare_recalls(pairs, pairs).iloc[0]
    assert (row["difference"], row["difference_ci_low"], row["difference_ci_high"], row["p_value"]) == (0, 0, 0, 1)


def test_better_map_is_told_from_worse(complexes, known_pairs):
    good, bad = (pairs_of(complexes(spread=spread), known_pairs) for spread in (0.3, 4))
    forward, backward = compare_recalls(good, bad).iloc[0], compare_recalls(bad, good).iloc[0]
    assert forward["difference_ci_low"] > 0
    assert forward["p_value"] < 0.01
    assert forward["difference"] == -backward["difference"] == forward["value_a"] - forward["value_b"]
    assert forward["difference_ci_low"] == pytest.approx(-backward["difference_ci_high"])


def test_equally_good_maps_are_rarely_told_apart(complexes, known_pairs):
    p_values = [
        compare_recalls(
            *(pairs_of(complexes(spread=1.2, seed=seed + shift), known_pairs) for shift in (0, 100)), replicates=300
        )["p_value"].item()
        for seed in range(12)
    ]
    assert sum(p < 0.05 for p in p_values) <= 3


def test_only_pairs_in_both_maps_count(complexes, known_pairs):
    both = pairs_of(complexes(), known_pairs)
    row = compare_recalls(both, both.iloc[:30]).iloc[0]
    assert row["pairs"] == 30


def test_probe_comparison_is_paired(wells):
    good, truth = wells(noise=0.3)
    bad, _ = wells(noise=3)
    genes = [probe(adata, truth, replicates=0)[1] for adata in (good, bad)]
    row = compare_probes(*genes).iloc[0]
    assert row["score"] == "probe_r2"
    assert row["difference_ci_low"] > 0
    assert compare_probes(genes[0], genes[0])["p_value"].item() == 1
    assert compare_probes(genes[0], genes[1].iloc[:0]).empty


def test_all_models_and_alignments_are_compared(complexes, known_pairs, wells, tmp_path):
    folders = []
    for number, (model, alignment) in enumerate([("mae", "tvn"), ("mae", "none"), ("untrained", "tvn")]):
        folder = tmp_path / model / alignment
        folder.mkdir(parents=True)
        write_manifest(folder / "map.json", stage="maps", version=1, digest="", model=model, alignment=alignment)
        pairs_of(complexes(spread=0.3 + number), known_pairs).to_parquet(folder / "pairs.parquet")
        adata, truth = wells(noise=0.3 + number)
        probe(adata, truth, replicates=0)[1].to_parquet(folder / "probe.parquet")
        folders.append(folder)
    compare_models(folders, output=tmp_path / "comparison.csv", replicates=50)
    table = pd.read_csv(tmp_path / "comparison.csv")
    contests = table[["model_a", "alignment_a", "model_b", "alignment_b"]].drop_duplicates().to_numpy().tolist()
    assert contests == [["mae", "tvn", "mae", "none"], ["mae", "tvn", "untrained", "tvn"]]
    assert table["score"].value_counts().to_dict() == {"recall": 2, "probe_r2": 2}
    assert table["difference"].notna().all()


def test_one_model_leaves_an_empty_table(complexes, known_pairs, tmp_path):
    write_manifest(tmp_path / "map.json", stage="maps", version=1, digest="", model="m", alignment="a")
    pairs_of(complexes(), known_pairs).to_parquet(tmp_path / "pairs.parquet")
    compare_models([tmp_path], output=tmp_path / "comparison.csv")
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert table.empty
    assert "difference" in table
