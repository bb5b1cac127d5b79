"""Harmony after an alignment: what it does to the wells of the fit, and to all others."""

import numpy as np
import pytest

import cellmae.alignment.harmony
from cellmae.alignment import Alignment, fit_alignment
from cellmae.errors import ConfigError, DataError


@pytest.fixture
def harmonypy():
    return pytest.importorskip("harmonypy", reason="needs harmonypy (extra harmony)")


def fit(adata, **options):
    return fit_alignment(adata, method="none", pca=10, harmony=True, **options)


@pytest.mark.usefixtures("harmonypy")
def test_batches_come_together(screen):
    adata = screen(batches=3, controls=100, effect=0, shift=0.5)
    codes = adata.obs["batch"].cat.codes.to_numpy()
    before = fit_alignment(adata, method="none", pca=10).apply(adata.copy()).obsm["X_tvn"]
    after = fit(adata).apply(adata.copy()).obsm["X_tvn"]

    def spread(X):
        means = np.stack([X[codes == batch].mean(axis=0) for batch in range(3)])
        return means.var(axis=0).sum() / X.var(axis=0).sum()

    assert spread(after) < 0.4 * spread(before)


def test_result_is_that_of_harmonypy(screen, harmonypy):
    adata = screen(batches=3)
    aligned = fit_alignment(adata, method="tvn", pca=10)
    ((_, _, _, before),) = aligned.stream(adata)
    expected = harmonypy.run_harmony(before.T, adata.obs, "batch", verbose=False).Z_corr
    alignment = fit_alignment(adata, method="tvn", pca=10, harmony=True)
    found = alignment.apply(adata.copy())
    np.testing.assert_allclose(found.obsm["X_tvn"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.obsm["X_pca"], aligned.apply(adata.copy()).obsm["X_pca"])
    assert found.uns["cellmae"]["options"]["harmony"] is True
    assert alignment.digest != aligned.digest


@pytest.mark.usefixtures("harmonypy")
def test_saved_harmony_is_the_same_in_any_order(screen, tmp_path):
    adata = screen()
    fit(adata).save(tmp_path / "a.fit.h5")
    loaded = Alignment.load(tmp_path / "a.fit.h5")
    expected = fit(adata).apply(adata.copy())
    assert loaded.digest == fit(adata).digest
    some = adata[::-3].copy()
    np.testing.assert_array_equal(loaded.apply(some).obsm["X_tvn"], expected[some.obs_names].obsm["X_tvn"])


@pytest.mark.usefixtures("harmonypy")
def test_other_wells_are_refused(screen):
    adata = screen(batches=4)
    alignment = fit(adata[adata.obs["plate"] != "plate3"].copy())
    with pytest.raises(DataError, match=r"harmony cannot place wells .* found 32: .*refit: true"):
        alignment.apply(adata)


@pytest.mark.usefixtures("harmonypy")
def test_single_batch_stays_and_few_wells_are_refused(screen, caplog):
    adata = screen(batches=1, controls=20)
    plain = fit_alignment(adata, method="none", pca=10).apply(adata.copy())
    np.testing.assert_array_equal(fit(adata).apply(adata.copy()).obsm["X_tvn"], plain.obsm["X_tvn"])
    assert "harmony: a single batch (plate0)" in caplog.text
    with pytest.raises(DataError, match="at least 30 wells and found 20"):
        fit(adata[:20].copy())


def test_missing_harmonypy_names_the_extra(screen, monkeypatch):
    monkeypatch.setattr(cellmae.alignment.harmony, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"alignments\.\*\.harmony: .*cellmae\[harmony\]"):
        fit(screen())
