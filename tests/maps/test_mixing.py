"""Batch purity of neighbourhoods."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import batch_purity
from cellmae.maps.mixing import ilisi


def test_purity_is_the_share_of_the_own_batch_among_the_nearest():
    generator = np.random.default_rng(0)
    X, batches = generator.normal(size=(50, 4)), pd.Series(generator.choice(["a", "b", "c"], 50))
    table = batch_purity(X, batches, neighbours=7)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    for well in (0, 20, 49):
        nearest = np.argsort(-(units @ units[well]))[1:8]
        assert table["purity"][well] == pytest.approx(np.mean(batches[nearest] == batches[well]))
        assert table["chance"][well] == pytest.approx((np.sum(batches == batches[well]) - 1) / 49)


def test_batches_apart_are_pure_and_mixed_ones_at_chance():
    generator = np.random.default_rng(1)
    X, batches = generator.normal(size=(600, 10)), pd.Series(np.repeat(["a", "b", "c"], 200))
    mixed = batch_purity(X, batches)
    assert mixed["purity"].mean() == pytest.approx(mixed["chance"].mean(), abs=0.02)
    X[:, 0] += 30 * (batches == "b") - 30 * (batches == "c")
    assert batch_purity(X, batches)["purity"][200:].mean() > 0.99


def test_ties_are_shared_out():
    table = batch_purity(np.ones((30, 3)), pd.Series(["a", "b", "b"] * 10))
    np.testing.assert_allclose(table["purity"], table["chance"])


def test_ilisi_needs_scib_metrics_and_hands_it_neighbourhoods(monkeypatch):
    X, batches = np.random.default_rng(2).normal(size=(120, 5)), pd.Series(["a", "b"] * 60)
    monkeypatch.setattr("cellmae.maps.mixing.find_spec", lambda name: None)
    assert ilisi(X, batches) is None
    scib = ModuleType("scib_metrics")
    scib.nearest_neighbors = ModuleType("scib_metrics.nearest_neighbors")
    scib.nearest_neighbors.NeighborsResults = SimpleNamespace
    scib.ilisi_knn = lambda found, own: np.mean(own[found.indices[:, 1:]] == own[:, None]) + found.distances[:, 0].sum()
    monkeypatch.setitem(sys.modules, "scib_metrics", scib)
    monkeypatch.setitem(sys.modules, "scib_metrics.nearest_neighbors", scib.nearest_neighbors)
    monkeypatch.setattr("cellmae.maps.mixing.find_spec", lambda name: scib)
    assert ilisi(X, batches) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_ilisi_tells_mixed_batches_from_separate_ones():
    pytest.importorskip("scib_metrics", reason="needs scib-metrics, which is no part of cellmae")
    X, batches = np.random.default_rng(1).normal(size=(600, 10)), pd.Series(np.repeat(["a", "b"], 300))
    assert ilisi(X, batches) > 0.8
    assert ilisi(X + 30 * (batches == "b").to_numpy()[:, None] * np.eye(10)[0], batches) < 0.1
