"""Consistency of replicates against plain loops, and its p-values."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import consistency, score_consistency
from cellmae.maps.groups import Groups
from cellmae.maps.replication import mean_cosines_across


def replicates(effect, *, perturbations=40, wells=4, dimensions=20, seed=0):
    generator = np.random.default_rng(seed)
    X = effect * np.repeat(generator.normal(size=(perturbations, dimensions)), wells, axis=0)
    X += generator.normal(size=X.shape)
    return X, Groups.of(pd.Series(np.repeat([f"p{number:02d}" for number in range(perturbations)], wells)))


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


def test_pairs_on_one_plate_can_be_left_out():
    generator = np.random.default_rng(1)
    X, labels, plates = generator.normal(size=(60, 5)), generator.integers(0, 8, 60), generator.integers(0, 3, 60)
    plates[labels == 5] = 0
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    found = mean_cosines_across(X, Groups.of(labels), plates)
    for label in range(8):
        own = np.flatnonzero(labels == label)
        cosines = [units[a] @ units[b] for a, b in combinations(own, 2) if plates[a] != plates[b]]
        assert found[label] == pytest.approx(np.mean(cosines) if cosines else np.nan, nan_ok=True)
    assert np.isnan(found[5])


def test_p_values_tell_effects_from_noise():
    X, groups = replicates(2)
    everything = np.arange(len(X))
    table = score_consistency(X, groups, everything, draws=999)
    assert (table["fdr"] < 0.01).all()
    p_values = [
        score_consistency(*replicates(0, seed=seed), everything, draws=999)["p_value"].to_numpy() for seed in range(8)
    ]
    assert np.mean(np.concatenate(p_values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(np.concatenate(p_values)) == pytest.approx(0.5, abs=0.06)


def test_sets_with_own_wells_do_not_count():
    """Of ten other wells four are copies of the perturbation's: 6 of 45 pairs reach it, with its own 15 of 66."""
    X = np.random.default_rng(0).normal(size=(12, 20))
    X[:6] = X[0]
    groups = Groups.of(pd.Series(["a"] * 2 + [None] * 4 + ["b"] * 6))
    table = score_consistency(X, groups, np.arange(12), draws=4000)
    assert table.loc["a", "p_value"] == pytest.approx(6 / 45, abs=0.02)


def test_large_perturbations_are_compared_with_sets_of_limited_size(monkeypatch):
    monkeypatch.setattr("cellmae.maps.replication.LARGEST_SET", 3)
    X, groups = replicates(2, wells=6)
    table = score_consistency(X, groups, np.arange(len(X)), draws=999)
    assert (table["p_value"] < 0.05).all()


def test_pool_that_is_too_small_gives_no_p_value():
    X, groups = replicates(1, perturbations=3)
    table = score_consistency(X, groups, np.arange(3), draws=99)
    assert table["consistency"].notna().all()
    assert table["p_value"].isna().all()
