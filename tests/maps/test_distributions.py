"""Distributions of replicate and unrelated pairs."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import compare_distributions, pair_cosines
from cellmae.maps.groups import Groups


def test_all_pairs_of_replicates_and_only_unrelated_others():
    X = np.random.default_rng(0).normal(size=(30, 6))
    labels = np.repeat(np.arange(6), 5)
    pairs = pair_cosines(X, Groups.of(labels), most_pairs=500)
    assert (len(pairs.replicates), len(pairs.unrelated)) == (60, 500)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = np.round(units @ units.T, 12)
    same = labels[:, None] == labels
    assert sorted(pairs.replicates) == sorted(cosine[same & np.triu(np.ones_like(same), 1)])
    assert set(pairs.unrelated) <= set(cosine[~same])
    assert np.bincount(pairs.owner).tolist() == [10] * 6


def test_pairs_are_drawn_with_a_seed_where_there_are_too_many():
    X = np.random.default_rng(0).normal(size=(40, 6))
    groups = Groups.of(np.repeat(["a", "b"], 20))
    drawn = [pair_cosines(X, groups, most_pairs=50, seed=seed) for seed in (0, 0, 1)]
    assert len(drawn[0].replicates) == 50
    np.testing.assert_array_equal(drawn[0].replicates, drawn[1].replicates)
    assert (drawn[0].replicates != drawn[2].replicates).any()


def test_weights_are_repetitions():
    generator = np.random.default_rng(1)
    sample, reference = generator.normal(size=20), generator.normal(0.5, size=30)
    times = generator.integers(0, 4, size=20)
    weighted = compare_distributions(sample, reference, times[None].astype(float))
    repeated = compare_distributions(np.repeat(sample, times), reference)
    np.testing.assert_allclose(weighted, repeated)


def test_equal_distributions_do_not_differ_and_disjoint_ones_do():
    same = np.full(50, 0.3)
    assert np.max(compare_distributions(same, same)) == 0
    largest, squared = compare_distributions(same + 1, same)
    assert largest == 1
    assert squared == pytest.approx(0.5)  # two values, the gap 1 at the lower half of the mass
    assert len(pair_cosines(np.eye(3), Groups.of(pd.Series(["a", "b", "c"]))).replicates) == 0
