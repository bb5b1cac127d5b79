"""Activity and consistency mAP beside copairs, on profiles without ties."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import Groups, activity, sharing

copairs = pytest.importorskip("copairs.map", reason="needs copairs (extra dev)")


def screen(effect, *, perturbations=25, controls=80, dimensions=32, seed=0):
    """Perturbations of 2 to 7 wells, and controls."""
    generator = np.random.default_rng(seed)
    wells = generator.integers(2, 8, perturbations)
    names = np.repeat([f"p{number:02d}" for number in range(perturbations)], wells)
    X = effect * np.repeat(generator.normal(size=(perturbations, dimensions)), wells, axis=0)
    X = np.vstack([X + generator.normal(size=X.shape), generator.normal(size=(controls, dimensions))])
    return X, np.concatenate([names, np.full(controls, "control")])


@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
def test_activity_is_the_peer(effect, tmp_path):
    X, names = screen(effect)
    control = names == "control"
    # As its guide says: a perturbation and a control differ in both columns, two perturbations or two controls do not.
    meta = pd.DataFrame({"perturbation": names, "reference": np.where(control, np.arange(len(names)), -1)})
    both = ["perturbation", "reference"]
    peer = copairs.average_precision(meta, X, both, [], [], both, progress_bar=False)
    peer = copairs.mean_average_precision(
        peer[~control], ["perturbation"], null_size=99, threshold=0.05, seed=0, progress_bar=False, cache_dir=tmp_path
    ).set_index("perturbation")["mean_average_precision"]
    ours = activity(X, Groups.of(pd.Series(names).where(~control)), np.flatnonzero(control), draws=99)["map"]
    np.testing.assert_allclose(ours, peer[ours.index], atol=1e-9)


@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
def test_sharing_is_the_peer(effect, tmp_path):
    X, names = screen(effect, controls=0)
    peer = copairs.average_precision(
        pd.DataFrame({"label": names}), X, ["label"], [], [], ["label"], progress_bar=False
    )
    peer = copairs.mean_average_precision(
        peer, ["label"], null_size=99, threshold=0.05, seed=0, progress_bar=False, cache_dir=tmp_path
    ).set_index("label")["mean_average_precision"]
    ours = sharing(X, Groups.of(names), draws=99)["map"]
    np.testing.assert_allclose(ours, peer[ours.index], atol=1e-9)


def test_a_constant_embedding_is_where_we_differ(tmp_path):
    X, names = screen(0, controls=0)
    peer = copairs.average_precision(
        pd.DataFrame({"label": names}), np.ones_like(X), ["label"], [], [], ["label"], progress_bar=False
    )
    assert peer["average_precision"].eq(1).all()
    ours = sharing(np.ones_like(X), Groups.of(names), draws=99)
    np.testing.assert_allclose(ours["map"], ours["chance"])
    assert (ours["p_value"] > 0.1).all()
