"""Proximity bias of maps in which it was put, or not."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import proximity_bias


def genes(bias, *, arms=6, members=12, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(arms * members, 16))
    X += bias * np.repeat(generator.normal(size=(arms, 16)), members, axis=0)
    return X, pd.Series(np.repeat([f"{number}p" for number in range(1, arms + 1)], members), dtype=object)


def test_bias_is_found_and_its_absence_too():
    biased, plain = (proximity_bias(*genes(bias))[0].set_index("arm") for bias in (0.7, 0))
    assert biased.loc["all", "probability"] > 0.7
    assert (biased["fdr"].dropna() < 0.01).all()
    assert plain.loc["all", "probability"] == pytest.approx(0.5, abs=0.03)
    assert biased.loc["all", ["genes", "pairs_within", "pairs_between"]].tolist() == [72, 6 * 66, 15 * 144]
    assert biased.loc["1p", ["genes", "pairs_within", "pairs_between"]].tolist() == [12, 66, 12 * 60]


def test_arms_add_up_to_the_whole():
    table, sums = proximity_bias(*genes(0.3))
    assert sums[:, 1].sum() / sums[:, 0].sum() == pytest.approx(table["probability"].iloc[0])


def test_genes_without_arm_or_direction_and_small_arms_are_left_out():
    X, arms = genes(0.3)
    X[0] = 0
    arms[1:3] = None
    arms[12:20] = ["x", "x", "x", "x", "y", "y", "y", "y"]
    table = proximity_bias(X, arms)[0].set_index("arm")
    assert table.loc["1p", "genes"] == 9
    assert not {"x", "y", "2p"} & set(table.index)
    assert table.loc["all", "genes"] == 69


def test_one_arm_alone_has_nothing_to_compare_with():
    X, arms = genes(0.3, arms=1)
    assert proximity_bias(X, arms)[0].empty
