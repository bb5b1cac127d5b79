"""Alignment and recall against the published formulas, written slow and plain, and against the peer itself."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from cellmae.alignment import fit_alignment
from cellmae.maps import read_relationships, recall


def simulated(batches, *, wells=60, controls=25, features=18, seed=0):
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(features, features))
    X = generator.normal(size=(batches * wells, features)) @ mix + 3
    batch = np.repeat([f"batch{number:02d}" for number in range(batches)], wells)
    control = np.tile(np.arange(wells) < controls, batches)
    for name in np.unique(batch):
        X[batch == name] = X[batch == name] * generator.uniform(0.5, 2, features) + generator.normal(size=features)
    return X, batch, control


def plain_pca(X, batch, components):
    Z = X.copy()
    for name in np.unique(batch):
        Z[batch == name] = StandardScaler().fit_transform(X[batch == name])
    return PCA(components, svd_solver="full").fit_transform(Z)


def plain_tvn(Y, batch, control):
    """Follow tvn_on_controls of EFAAR_benchmarking, line by line."""
    Y = StandardScaler().fit(Y[control]).transform(Y)
    Y = PCA(svd_solver="full").fit(Y[control]).transform(Y)
    Y = StandardScaler().fit(Y[control]).transform(Y)
    for name in np.unique(batch):
        own = batch == name
        covariance = np.cov(Y[own & control], rowvar=False, ddof=1) + 0.5 * np.eye(Y.shape[1])
        Y[own] = Y[own] @ fractional_matrix_power(covariance, -0.5)
    return Y


def ours(X, batch, control, components, method="efaar"):
    names = np.where(control, "control", "other")
    roles = np.where(control, "negative_control", "treatment")
    obs = pd.DataFrame({"plate": batch, "batch": batch, "perturbation": names, "role": roles})
    adata = AnnData(X, obs=obs.set_axis(obs.index.astype(str)))
    ((_, _, coordinates, aligned),) = fit_alignment(adata, method=method, pca=components).stream(adata)
    return coordinates, aligned


def assert_same_gram(found, expected):
    gram = expected @ expected.T
    assert np.abs(found @ found.T - gram).max() < 1e-8 * np.abs(gram).max()


@pytest.mark.parametrize("batches", [1, 2, 7, 50])
def test_tvn_is_the_published_formula(batches):
    X, batch, control = simulated(batches, seed=batches)
    coordinates, aligned = ours(X, batch, control, 12)
    expected = plain_pca(X, batch, 12)
    assert_same_gram(coordinates, expected)
    assert_same_gram(aligned, plain_tvn(expected, batch, control))


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 2, 7, 50])
def test_tvn_is_the_peer(batches):
    efaar = pytest.importorskip("efaar_benchmarking.efaar", reason="needs efaar_benchmarking (extra dev)")
    X, batch, control = simulated(batches, seed=batches)
    metadata = pd.DataFrame({"batch": batch, "perturbation": np.where(control, "control", "other")})
    coordinates, aligned = ours(X, batch, control, 12)
    expected = efaar.tvn_on_controls(coordinates, metadata, "perturbation", "control", batch_col="batch")
    assert_same_gram(aligned, expected)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 2, 7])
def test_pca_cs_is_the_peer(batches):
    efaar = pytest.importorskip("efaar_benchmarking.efaar", reason="needs efaar_benchmarking (extra dev)")
    X, batch, control = simulated(batches, seed=batches)
    metadata = pd.DataFrame({"batch": batch, "perturbation": np.where(control, "control", "other")})
    coordinates, aligned = ours(X, batch, control, 12, method="pca-cs")
    expected = PCA(12, svd_solver="full").fit(X[control]).transform(X)
    assert_same_gram(coordinates, expected)
    expected = efaar.centerscale_on_controls(expected, metadata, "perturbation", "control", batch_col="batch")
    assert_same_gram(aligned, expected)


@pytest.mark.slow
def test_recall_is_the_peer(tmp_path):
    benchmarking = pytest.importorskip("efaar_benchmarking.benchmarking", reason="needs efaar_benchmarking (extra dev)")
    generator = np.random.default_rng(0)
    names = [f"g{number}" for number in range(60)]
    pairs = {tuple(sorted(generator.choice(names, 2, replace=False))) for _ in range(300)}
    pd.DataFrame(sorted(pairs), columns=["entity1", "entity2"]).to_csv(tmp_path / "known.txt", index=False)
    X = generator.normal(size=(60, 10))
    peer = benchmarking.known_relationship_benchmark(
        benchmarking.Bunch(features=pd.DataFrame(X), metadata=pd.DataFrame({"gene": names})),
        pert_col="gene",
        benchmark_sources=["known"],
        benchmark_data_dir=tmp_path,
    ).iloc[0]
    thresholds = ((0.05, 0.95), (0.1, 0.9))
    known = {"known": read_relationships(tmp_path / "known.txt")}
    table, _ = recall(AnnData(X, obs=pd.DataFrame(index=names)), known, thresholds=thresholds, replicates=0)
    for row in table.itertuples():
        assert row.recall == peer[f"recall_{row.low}_{row.high}"]
        assert row.pairs == peer["query_distribution_size"]
