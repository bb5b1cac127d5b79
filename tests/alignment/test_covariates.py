"""Effects of position and counts: planted, estimated, removed."""

import numpy as np
import pandas as pd
import pytest

from cellmae.alignment.covariates import RegressionSums, find_covariates, report_nesting
from cellmae.errors import ConfigError

ROWS, COLUMNS, FEATURES = 8, 12, 6


def planted(*, plates=6, seed=0, fixed_layout=False):
    """Return plates whose features depend on row, column and count, and the features without these effects."""
    random = np.random.default_rng(seed)
    rows, columns = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    effects = [random.normal(size=(size, FEATURES)) for size in (ROWS, COLUMNS)]
    effects = [effect - effect.mean(axis=0) for effect in effects]
    slope = random.normal(size=FEATURES)
    tables, bare = [], []
    for plate in range(plates):
        order = np.arange(ROWS * COLUMNS) if fixed_layout else random.permutation(ROWS * COLUMNS)
        obs = pd.DataFrame({"plate": f"p{plate}", "row": rows + 1, "column": columns + 1})
        obs["perturbation"] = np.where(order < 24, "control", np.char.add("g", (order % 36).astype(str)))
        obs["role"] = np.where(order < 24, "negative_control", "treatment")
        obs["count"] = 100 * (plate + 1) + 10 * (plate + 1) * random.normal(size=len(obs))
        tables.append(obs)
        bare.append(random.normal(size=(len(obs), FEATURES)) + 5 * random.normal(size=FEATURES))
    obs = pd.concat(tables, ignore_index=True)
    obs["batch"] = obs["plate"]
    obs.index = obs["plate"] + "_" + obs.index.astype(str)
    bare = np.concatenate(bare)
    standard = obs.groupby("batch")["count"].transform(lambda values: (values - values.mean()) / values.std())
    moved = bare + effects[0][obs["row"] - 1] + effects[1][obs["column"] - 1] + standard.to_numpy()[:, None] * slope
    return moved, bare, obs, effects, slope


def fit(X, obs, names, *, chunks=1):
    sums = RegressionSums(find_covariates(obs, names, "batch"), "batch", X.shape[1])
    for rows in np.array_split(np.arange(len(X)), chunks):
        sums.add(obs.iloc[rows], X[rows])
    return sums.fit()


def test_planted_effects_are_found():
    X, bare, obs, effects, slope = planted(plates=60)
    regression = fit(X, obs, ["position", "count"])
    np.testing.assert_allclose(regression.coefficients, np.vstack([*effects, slope]), atol=0.15)
    np.testing.assert_allclose(regression.apply(X, obs, "batch"), bare, atol=0.4)


def test_what_is_left_has_no_effect_of_position_and_count():
    X, _, obs, _, _ = planted()
    left = fit(X, obs, ["position", "count"]).apply(X, obs, "batch")
    again = fit(left, obs, ["position", "count"])
    assert np.abs(again.coefficients).max() < 0.05
    assert again.variance_removed < 0.001


def test_least_squares_of_dummies():
    X, _, obs, _, _ = planted()
    left = fit(X, obs, ["position"]).apply(X, obs, "batch")
    dummies = pd.get_dummies(obs[["plate", "row", "column"]].astype(str), dtype=float).to_numpy()
    expected = X - dummies @ np.linalg.lstsq(dummies, X, rcond=None)[0]
    found = left - pd.DataFrame(left).groupby(obs["plate"].to_numpy()).transform("mean").to_numpy()
    np.testing.assert_allclose(found, expected, atol=0.15)  # the ridge counts one well more than 48 or 72
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_effects_of_rows_and_of_columns_sum_to_zero_and_batches_stay_where_they_are():
    X, _, obs, _, _ = planted()
    regression = fit(X, obs, ["position", "count"])
    assert np.abs(regression.coefficients[:ROWS].sum(axis=0)).max() < 1e-9
    assert np.abs(regression.coefficients[ROWS:-1].sum(axis=0)).max() < 1e-9
    moved = pd.DataFrame(regression.apply(X, obs, "batch") - X).groupby(obs["plate"].to_numpy()).mean()
    assert np.abs(moved.to_numpy()).max() < 1e-9


def test_share_of_variance():
    X, bare, obs, _, _ = planted(plates=40)
    within = [
        pd.DataFrame(table).groupby(obs["plate"].to_numpy()).transform(lambda values: values - values.mean()).var()
        for table in (bare, X)
    ]
    assert fit(X, obs, ["position", "count"]).variance_removed == pytest.approx(
        (1 - within[0] / within[1]).mean(), abs=0.02
    )
    assert fit(bare, obs, ["position", "count"]).variance_removed < 0.01


def test_new_plates_lose_the_same_effects():
    X, bare, obs, _, _ = planted(plates=40)
    seen = (obs["plate"] != "p7").to_numpy()
    regression = fit(X[seen], obs[seen], ["position", "count"])
    alone = regression.apply(X[seen], obs[seen], "batch")
    later = regression.covariates.with_batches(obs, "batch")
    np.testing.assert_array_equal(regression.apply(X, obs, "batch", later)[seen], alone)
    np.testing.assert_allclose(regression.apply(X, obs, "batch", later)[~seen], bare[~seen], atol=0.4)
    assert regression.covariates.with_batches(obs[seen], "batch") is regression.covariates


def test_chunks_give_the_same():
    X, _, obs, _, _ = planted()
    whole, parts = (fit(X, obs, ["position", "count"], chunks=chunks) for chunks in (1, 11))
    np.testing.assert_allclose(whole.coefficients, parts.coefficients, atol=1e-10)
    assert whole.variance_removed == pytest.approx(parts.variance_removed, abs=1e-10)


def test_a_constant_number_has_no_effect(caplog):
    X, _, obs, _, _ = planted()
    obs["count"] = obs["count"].where(obs["plate"] != "p2", 7.0)
    obs["flat"] = np.float32(0.1)
    regression = fit(X, obs, ["count", "flat"])
    assert "regression on count: constant in 1 of 6 batches, where it has no effect: p2" in caplog.text
    assert "regression on flat: constant in 6 of 6 batches" in caplog.text
    assert not regression.coefficients[1].any()
    own = (obs["plate"] == "p2").to_numpy()
    np.testing.assert_array_equal(regression.apply(X, obs, "batch")[own], X[own])


def test_missing_numbers_change_nothing(caplog):
    X, _, obs, _, _ = planted()
    obs.loc[obs.index[[3, 5]], "count"] = [np.nan, np.inf]
    obs.loc[obs["plate"] == "p4", "count"] = np.nan
    regression = fit(X, obs, ["count"])
    missing = ~np.isfinite(obs["count"].to_numpy())
    np.testing.assert_array_equal(regression.apply(X, obs, "batch")[missing], X[missing])
    assert np.isfinite(regression.apply(X, obs, "batch")).all()
    assert (
        f"regression on count: missing in {missing.sum()} of 576 wells, which stay as they are: p0_3, p0_5"
        in caplog.text
    )


def test_rows_that_the_fit_has_not_seen_have_no_effect():
    X, _, obs, _, _ = planted()
    inner = (obs["row"] < ROWS).to_numpy()
    regression = fit(X[inner], obs[inner], ["position"])
    later = obs.assign(column=99)
    np.testing.assert_array_equal(regression.apply(X, later, "batch")[~inner], X[~inner])


def test_features_without_variance_and_with_a_large_mean_are_sound():
    X, _, obs, _, _ = planted()
    X = np.column_stack([X, np.full(len(X), 0.1, dtype=np.float32), X[:, 0] + 1e6])
    regression = fit(X, obs, ["position", "count"])
    assert np.abs(regression.coefficients[:, -2]).max() < 1e-9
    np.testing.assert_allclose(regression.coefficients[:, -1], regression.coefficients[:, 0], atol=1e-5)
    assert 0 < regression.variance_removed < 1


def test_perturbations_at_one_position_are_said(caplog):
    _, _, obs, _, _ = planted()
    shares = report_nesting(obs, find_covariates(obs, ["position", "count"], "batch"), "batch")
    assert shares["position"] == 0
    assert shares["count"] < 0.1
    assert caplog.text == ""
    _, _, obs, _, _ = planted(fixed_layout=True)
    obs["perturbation"] = obs["row"].astype(str) + "x" + obs["column"].astype(str)
    shares = report_nesting(obs, find_covariates(obs, ["position"], "batch"), "batch")
    assert shares == {"position": 1.0}
    assert "regression on position: 100 % of the perturbations lie at one position" in caplog.text


def test_a_number_that_differs_between_perturbations_is_said(caplog):
    _, _, obs, _, _ = planted()
    codes = obs["perturbation"].str.strip("cogntrl").replace("", "0").astype(int)
    obs["count"] = codes + np.random.default_rng(0).normal(size=len(obs))
    shares = report_nesting(obs, find_covariates(obs, ["count"], "batch"), "batch")
    assert 0.95 < shares["count"] < 1
    assert "of its variance lies between perturbations: part of their effects is removed with it" in caplog.text
    assert report_nesting(obs.iloc[:0], find_covariates(obs, ["count"], "batch"), "batch") == {}


def test_an_unknown_column_is_named():
    _, _, obs, _, _ = planted(plates=1)
    with pytest.raises(ConfigError, match=r"^alignments.\*.regress: the column 'cells' of wells does not exist"):
        find_covariates(obs, ["position", "cells"], "batch")
