"""Batch purity of neighbourhoods."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import batch_purity


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
