"""Probes of perturbations across batches."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import probe_perturbations


def screen(noise, *, perturbations=12, batches=4, dimensions=20, seed=0):
    generator = np.random.default_rng(seed)
    means = np.tile(generator.normal(size=(perturbations, dimensions)), (batches, 1))
    X = means + noise * generator.normal(size=means.shape)
    names = [f"p{number}" for number in range(perturbations)] * batches
    return X, pd.Series(names), pd.Series(np.repeat([f"b{number}" for number in range(batches)], perturbations))


def test_clear_effects_are_recognised_on_other_batches():
    table = probe_perturbations(*screen(0.1))
    assert table[["knn", "linear"]].min().min() == 1
    assert table["chance"].to_numpy() == pytest.approx(1 / 12)
    assert table["wells"].eq(4).all()


def test_noise_is_guessed():
    X, names, batches = screen(1, batches=10)
    noise = np.random.default_rng(1).normal(size=X.shape)
    table = probe_perturbations(noise, names, batches)
    assert table["knn"].mean() == pytest.approx(1 / 12, abs=0.07)
    assert table["linear"].mean() == pytest.approx(1 / 12, abs=0.07)


def test_what_a_batch_alone_tells_does_not_help():
    X, names, batches = screen(0.1)
    signature = np.random.default_rng(2).normal(size=(48, 20)) * 0.01
    unique = pd.Series([f"{name}_{batch}" for name, batch in zip(names, batches, strict=True)])
    assert probe_perturbations(X + signature, unique, batches).empty
    assert probe_perturbations(X, names, pd.Series(["b"] * 48)).empty


def test_wells_and_perturbations_are_limited_with_a_seed():
    few = [probe_perturbations(*screen(0.1), most_wells=20, seed=seed) for seed in (0, 0, 1)]
    assert few[0]["wells"].sum() == 20
    assert few[0].index.tolist() == few[1].index.tolist()
    assert len(probe_perturbations(*screen(0.1), most_classes=3)) == 3


def test_one_well_of_each_suffices_for_neighbours_alone():
    table = probe_perturbations(*screen(0.1, batches=2))
    assert table["knn"].min() == 1
    assert table["linear"].isna().all()
    assert table["wells"].eq(2).all()
