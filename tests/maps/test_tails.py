"""Permuted recalls against a slow loop."""

import numpy as np
import pytest

from cellmae.maps import similarity
from cellmae.maps.similarity import Null, cosine_matrix, unit_vectors
from cellmae.maps.tails import Tails

NAMES = 30
THRESHOLDS = [(0.05, 0.95), (0.1, 0.9), (0.0, 0.7)]


@pytest.fixture
def vectors():
    vectors = np.random.default_rng(0).normal(size=(NAMES, 4))
    vectors[::9] = 0
    return vectors


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("block_size", [7 * NAMES, 10**6])
def test_permuted_shares_are_those_of_a_slow_loop(vectors, grouped, block_size, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_SIZE", block_size)
    generator = np.random.default_rng(1)
    groups = generator.integers(-1, 3, size=NAMES) if grouped else None
    units = unit_vectors(vectors)
    null = Null.of(units, groups)
    pairs = np.array([(a, b) for a in range(NAMES) for b in range(a) if generator.random() < 0.2])
    found = Tails.of(units, null, THRESHOLDS, groups).permuted_shares(pairs, replicates=5, seed=3)

    cosine = cosine_matrix(vectors)
    generator = np.random.default_rng(3)
    for shares in found:
        order = generator.permutation(NAMES)
        drawn = [(a, b) for a, b in order[pairs] if not grouped or -1 < groups[a] != groups[b] > -1]
        for share, (low, high) in zip(shares, THRESHOLDS, strict=True):
            cosines = np.array([cosine[a, b] for a, b in drawn])
            hits = (null.share_at_or_below(cosines) <= low) | (null.share_below(cosines) >= high)
            assert share == pytest.approx(hits.sum() / len(drawn))


def test_many_thresholds_take_wider_numbers(vectors):
    units = unit_vectors(vectors)
    null = Null.of(units)
    thresholds = [(0.01 * step, 1 - 0.01 * step) for step in range(1, 12)]
    tails = Tails.of(units, null, thresholds)
    assert tails.codes.dtype == np.uint16
    shares = tails.permuted_shares(np.array([(0, 1), (1, 2), (4, 9)]), replicates=200, seed=0)
    assert (np.diff(shares.mean(axis=0)) >= 0).all()
    assert shares.mean(axis=0)[-1] == pytest.approx(null.share_beyond(*null.bounds(*thresholds[-1])), abs=0.06)
