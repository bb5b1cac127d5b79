"""Intervals that resample perturbations, on worlds whose truth is known."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from cellmae.maps.bootstrap import interval, p_value, resampled_shares

GENES, WORLDS, TRUTH = 60, 200, 0.3


@pytest.mark.parametrize("size", [2, 4, 12])
@pytest.mark.parametrize("shared", [0.0, 1.0, 3.0])
def test_intervals_are_at_least_as_wide_as_they_say(size: int, shared: float) -> None:
    """Known pairs in sets, recalled by what is particular to them and, more or less, by what their members share."""
    generator = np.random.default_rng(0)
    pairs = np.array([pair for start in range(0, GENES, size) for pair in combinations(range(start, start + size), 2)])
    threshold = np.sqrt(2 * shared**2 + 1) * norm.ppf(1 - TRUTH)
    covered, told_apart = [], []
    for world in range(WORLDS):
        members = shared * generator.normal(size=(GENES, 2))  # of two models that are equally good
        hits = members[pairs].sum(axis=1) + generator.normal(size=(len(pairs), 2)) > threshold
        draws = resampled_shares(pairs, hits, replicates=300, seed=world)
        low, high = interval(draws[:, 0])
        covered.append(low <= TRUTH <= high)
        told_apart.append(p_value(draws[:, 0] - draws[:, 1]) < 0.05)
    assert np.mean(covered) >= 0.95
    assert np.mean(told_apart) <= 0.05
