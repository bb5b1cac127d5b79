"""Energy distance against the plain formula, and its p-values."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, pdist

from cellmae.maps import score_magnitude
from cellmae.maps.groups import Groups


def screen(effect, *, perturbations=40, wells=5, controls=100, dimensions=8, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(perturbations * wells + controls, dimensions)).astype(np.float32)
    X[: perturbations * wells, 0] += effect
    labels = [f"p{number:02d}" for number in range(perturbations) for _ in range(wells)] + [None] * controls
    return X, Groups.of(pd.Series(labels, dtype=object)), np.arange(perturbations * wells, len(X))


def test_magnitude_is_the_unbiased_energy_distance():
    X, groups, controls = screen(1)
    table = score_magnitude(X, groups, controls, draws=99)
    for number in (0, 17):
        own, reference = X[groups.codes == number].astype(float), X[controls].astype(float)
        expected = 2 * cdist(own, reference).mean() - pdist(own).mean() - pdist(reference).mean()
        assert table["magnitude"].iloc[number] == pytest.approx(expected, abs=1e-9)


def test_effects_are_told_from_none():
    assert (score_magnitude(*screen(3), draws=999)["fdr"] < 0.01).all()
    tables = [score_magnitude(*screen(0, seed=seed), draws=999) for seed in range(8)]
    table = pd.concat(tables)
    assert table["magnitude"].mean() == pytest.approx(0, abs=0.02)
    assert (table["p_value"] < 0.05).mean() == pytest.approx(0.05, abs=0.04)


def test_controls_are_sampled_with_a_seed():
    X, groups, controls = screen(1)
    tables = [score_magnitude(X, groups, controls, most_controls=30, draws=99, seed=seed) for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_controls_give_what_they_can(count):
    X, groups, controls = screen(1)
    table = score_magnitude(X, groups, controls[:count], draws=99)
    assert table["magnitude"].notna().all() == (count >= 2)
    assert table["p_value"].isna().all()
    assert np.isnan(score_magnitude(X[4:], Groups(groups.codes[4:], groups.names), controls - 4)["magnitude"].iloc[0])
