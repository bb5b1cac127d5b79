"""Grouped sums, medians and random sets against plain loops."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import groups as module
from cellmae.maps.groups import Groups, random_sets


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    labels = pd.Series(generator.choice(["a", "b", "c", "d"], size=200, p=[0.5, 0.3, 0.19, 0.01]), dtype=object)
    labels[generator.random(200) < 0.1] = None
    return generator.normal(size=(200, 3)).astype(np.float32), labels


def test_sums_means_and_medians_are_those_of_pandas(rows, monkeypatch):
    X, labels = rows
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 17)
    grouped, own = pd.DataFrame(X.astype(float)).groupby(labels), Groups.of(labels)
    np.testing.assert_allclose(own.sums(X), grouped.sum())
    np.testing.assert_allclose(own.means(X), grouped.mean())
    np.testing.assert_allclose(own.medians(X), grouped.median())
    assert own.names.tolist() == grouped.size().index.tolist()
    weights = np.random.default_rng(1).random(200)
    for name, weighted in zip(own.names, own.means(X, weights=weights), strict=True):
        inside = (labels == name).to_numpy()
        np.testing.assert_allclose(weighted, np.average(X[inside], axis=0, weights=weights[inside]))


def test_stacks_visit_every_row_once_in_groups_of_one_size(rows):
    _, labels = rows
    own = Groups.of(labels)
    seen = []
    for numbers, stack in own.stacks(rows_at_once=50):
        assert (own.counts[numbers] == stack.shape[1]).all()
        assert (own.codes[stack] == numbers[:, None]).all()
        seen += stack.ravel().tolist()
    assert sorted(seen) == np.flatnonzero(labels.notna()).tolist()


def test_distinct_labels_are_counted(rows):
    _, labels = rows
    plates = pd.Series(np.arange(200) % 7)
    found = Groups.of(labels).distinct(plates)
    assert found.tolist() == plates.groupby(labels).nunique().tolist()


def test_large_groups_are_sampled_and_small_ones_kept(rows):
    own = Groups.of(rows[1])
    sampled = own.at_most(10, seed=3)
    assert sampled.counts.tolist() == np.minimum(own.counts, 10).tolist()
    assert (sampled.codes == own.at_most(10, seed=3).codes).all()
    kept = sampled.codes >= 0
    assert (sampled.codes[kept] == own.codes[kept]).all()


@pytest.mark.parametrize(("total", "size"), [(100, 3), (5, 4), (4, 4)])
def test_random_sets_hold_nobody_twice_and_reach_everybody(total, size):
    sets = random_sets(np.random.default_rng(0), total, size, 500)
    assert sets.shape == (500, size)
    assert all(len(set(some)) == size for some in sets)
    assert set(sets.ravel()) == set(range(total))
