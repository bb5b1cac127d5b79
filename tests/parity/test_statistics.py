"""Statistics that are written for speed beside those of scipy, and of efaar_benchmarking."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import brunnermunzel, cramervonmises_2samp, ks_2samp

from cellmae.maps import Groups, brunner_munzel, compare_distributions, proximity_bias, score_consistency
from cellmae.maps.magnitude import distances, score_magnitude
from cellmae.maps.similarity import cosine_matrix


@pytest.mark.parametrize("kind", ["few", "many", "ties", "shifted"])
def test_brunner_munzel_is_scipy(kind):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=12 if kind == "few" else 400), generator.normal(size=900)
    if kind == "ties":
        x, y = np.round(x, 1), np.round(y, 1)
    if kind == "shifted":
        x = 0.5 * x + 0.4
    ours, peer = brunner_munzel(x, np.sort(y)), brunnermunzel(y, x)
    assert ours.statistic == pytest.approx(
        -peer.statistic if np.sign(ours.statistic) != np.sign(peer.statistic) else peer.statistic, rel=1e-9
    )
    assert ours.p_value == pytest.approx(peer.pvalue, rel=1e-7)
    assert ours.probability == pytest.approx(np.mean((x[:, None] > y) + 0.5 * (x[:, None] == y)), abs=1e-12)


def test_arms_are_compared_as_scipy_would():
    generator = np.random.default_rng(1)
    X, arms = generator.normal(size=(60, 8)), pd.Series(np.repeat(["1p", "1q", "2p"], [10, 20, 30]))
    X[10:30] += 1
    table = proximity_bias(X, arms)[0].set_index("arm")
    cosine = cosine_matrix(X)
    for arm in ("1p", "1q", "2p"):
        own = (arms == arm).to_numpy()
        within = cosine[np.ix_(own, own)][np.triu_indices(own.sum(), k=1)]
        peer = brunnermunzel(cosine[np.ix_(own, ~own)].ravel(), within)
        assert table.loc[arm, "p_value"] == pytest.approx(peer.pvalue, rel=1e-7)


def test_distributions_are_compared_as_scipy_does():
    generator = np.random.default_rng(2)
    for shift in (0, 0.2, 3):
        sample, reference = generator.normal(shift, size=150), generator.normal(size=400)
        (largest,), (squared,) = compare_distributions(sample, reference)
        assert largest == pytest.approx(ks_2samp(sample, reference).statistic, abs=1e-12)
        peer = cramervonmises_2samp(sample, reference, method="asymptotic").statistic
        assert squared * 150 * 400 / 550 == pytest.approx(peer, abs=1e-9)


@pytest.fixture(scope="module")
def screen():
    generator = np.random.default_rng(3)
    names = np.repeat([f"p{number:02d}" for number in range(40)], 6)
    X = np.repeat(generator.normal(size=(40, 10)), 6, axis=0) + generator.normal(size=(240, 10))
    return np.vstack([X, generator.normal(size=(60, 10))]), np.concatenate([names, ["control"] * 60])


@pytest.mark.slow
def test_consistency_is_the_peer(screen):
    peer = pytest.importorskip("efaar_benchmarking.benchmarking", reason="needs efaar_benchmarking (extra dev)")
    X, names = screen
    table = peer.pert_signal_consistency_benchmark(
        X, pd.DataFrame({"gene": names}), "gene", neg_ctrl_perts=["control"], n_jobs=1
    ).set_index("pert")
    ours = score_consistency(X, Groups.of(names), np.arange(len(X)), draws=99)["consistency"]
    np.testing.assert_allclose(ours[table.index], table["avgcossim"], atol=1e-12)


@pytest.mark.slow
def test_magnitude_is_the_peer_less_its_bias(screen):
    """The peer's means count the distance zero of each well from itself."""
    peer = pytest.importorskip("efaar_benchmarking.benchmarking", reason="needs efaar_benchmarking (extra dev)")
    X, names = screen
    table = peer.pert_signal_magnitude_benchmark(
        X, pd.DataFrame({"gene": names}), "gene", neg_ctrl_perts=["p00"], control_key="control", n_jobs=1
    ).set_index("pert")
    control = np.flatnonzero(names == "control")
    ours = score_magnitude(X, Groups.of(pd.Series(names)), control, draws=99)["magnitude"]
    for name in ("p01", "p17", "p39"):
        own = X[names == name]
        bias = distances(own, own).mean() / 5 + distances(X[control], X[control]).mean() / 59
        assert ours[name] + bias == pytest.approx(table.loc[name, "edist"], rel=1e-4)
