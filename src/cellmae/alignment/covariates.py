"""Regression of nuisance covariates: the position of a well on its plate, and what was counted or measured in it.

An additive model of plate rows, plate columns and standardised numbers is fitted by least squares to the features of
all wells, each about the mean of its batch, and its prediction is subtracted. All wells, because controls occupy a few
columns of most plates and say nothing of the others, while every row and column holds so many perturbations that their
effects average out; regression on cell counts over all wells is also what the JUMP consortium does (Chandrasekaran et
al. 2024, *Morphological map of under- and overexpression of genes in human cells*). Where a perturbation is seen at one
position only, or a covariate differs mainly between perturbations, part of their effects is removed as well:
:func:`report_nesting` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from cellmae.alignment.chunks import Chunks
from cellmae.alignment.filters import numeric_column
from cellmae.logging import logger, progress
from cellmae.screen.listing import listing

POSITION = "position"
KEY = "alignments.*.regress"
RIDGE = 1.0
"""Added to the number of wells behind each coefficient: shrinks an effect that few wells show, and no other.

It also settles what the data leave open, since row effects could be traded for column effects: effects of rows sum to
zero, and so do those of columns.
"""
NESTED_SHARE = 0.5
"""Of perturbations at one position, or of a number's variance between perturbations, above which a warning is due."""


@dataclass(frozen=True)
class Covariates:
    """What is regressed on, and where the numbers lie in each batch.

    Attributes
    ----------
    rows, columns
        Rows and columns of plates that have an effect, from 1; none without ``position``.
    names
        Columns of wells with numbers.
    batches
        Batches in alphabetical order.
    mean, deviation
        Of the numbers in each batch, shape (batches, names); a number that does not vary has an infinite deviation, and
        therefore no effect.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    names: NDArray[np.str_]
    batches: NDArray[np.str_]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def with_batches(self, obs: pd.DataFrame, batch: str) -> "Covariates":
        """Return these with the batches that are new in ``obs``, all of whose wells it holds."""
        new = obs[~obs[batch].astype(str).isin(self.batches)]
        if new.empty:
            return self
        names, mean, deviation = _standards(new, self.names, batch)
        return Covariates(
            self.rows,
            self.columns,
            self.names,
            np.concatenate([self.batches, names]),
            np.concatenate([self.mean, mean]),
            np.concatenate([self.deviation, deviation]),
        )

    def design(self, obs: pd.DataFrame, batch: str) -> NDArray[np.float64]:
        """Return the design matrix of wells, shape (wells, terms): a column a row, a column, and a number.

        Rows and columns that the fit has not seen, and numbers that are missing, are zero: no effect is subtracted.
        """
        places = [
            np.asarray(obs[name].to_numpy()[:, None] == levels, dtype=float)
            for name, levels in (("row", self.rows), ("column", self.columns))
            if len(levels)
        ]
        number = pd.Index(self.batches).get_indexer(pd.Index(obs[batch].astype(str)))
        standard = (_numbers(obs, self.names) - self.mean[number]) / self.deviation[number]
        return np.hstack([*places, np.nan_to_num(standard, nan=0, posinf=0, neginf=0)])


@dataclass(frozen=True)
class Regression:
    """Effects of covariates on features.

    Attributes
    ----------
    covariates
        What the effects are of.
    coefficients
        Shape (terms, features).
    variance_removed
        Share of the variance within batches that the effects explain in the wells of the fit, mean over features.
    """

    covariates: Covariates
    coefficients: NDArray[np.float64]
    variance_removed: float

    def chunks(self, chunks: Chunks, obs: pd.DataFrame, batch: str) -> "RegressedChunks":
        """Return the features of all wells less the effects, chunk by chunk; batches may be new."""
        return RegressedChunks(chunks, self, self.covariates.with_batches(obs, batch), obs, batch)

    def apply(self, X: NDArray, obs: pd.DataFrame, batch: str, covariates: Covariates | None = None) -> NDArray:
        """Return the features of wells less the effects, shape (wells, features), in float64.

        Parameters
        ----------
        X, obs
            Features and annotations of the same wells; a chunk of all will do.
        batch
            Column of ``obs`` with the batch.
        covariates
            Those of the fit with later batches, see :meth:`Covariates.with_batches`.
        """
        return np.asarray(X, dtype=np.float64) - (covariates or self.covariates).design(obs, batch) @ self.coefficients


@dataclass(frozen=True)
class RegressedChunks:
    """Features of wells, less the effects of covariates, as they are read."""

    chunks: Chunks
    regression: Regression
    covariates: Covariates
    obs: pd.DataFrame
    batch: str

    @property
    def shape(self) -> tuple[int, int]:
        """Wells and features."""
        return self.chunks.shape

    @property
    def rows(self) -> Sequence[slice]:
        """Rows of each chunk."""
        return self.chunks.rows

    def read(self, number: int) -> NDArray[np.float64]:
        """Return the features of a chunk."""
        X, obs = self.chunks.read(number), self.obs.iloc[self.rows[number]]
        return self.regression.apply(X, obs, self.batch, self.covariates)


class RegressionSums:
    """Sums over wells from which :meth:`fit` takes the effects.

    Parameters
    ----------
    covariates
        As :func:`find_covariates` returns them for all wells.
    batch
        Column of wells with the batch.
    features
        Number of features.
    """

    def __init__(self, covariates: Covariates, batch: str, features: int) -> None:
        self.covariates, self.batch = covariates, batch
        terms = len(covariates.rows) + len(covariates.columns) + len(covariates.names)
        batches = len(covariates.batches)
        self._origin: NDArray[np.float64] | None = None
        self._count = np.zeros(batches)
        self._design, self._sum = np.zeros((batches, terms)), np.zeros((batches, features))
        self._gram, self._cross = np.zeros((terms, terms)), np.zeros((terms, features))
        self._squares = np.zeros(features)

    def add(self, obs: pd.DataFrame, X: NDArray) -> None:
        """Add a chunk of wells: annotations and features, shape (wells, features)."""
        X = np.asarray(X, dtype=np.float64)
        if self._origin is None:  # so that little is lost where features vary little about a large mean
            self._origin = X.mean(axis=0)
        X = X - self._origin
        D = self.covariates.design(obs, self.batch)
        codes = pd.Index(self.covariates.batches).get_indexer(pd.Index(obs[self.batch].astype(str)))
        for code in np.unique(codes):
            rows = codes == code
            self._count[code] += rows.sum()
            self._design[code] += D[rows].sum(axis=0)
            self._sum[code] += X[rows].sum(axis=0)
        self._gram += D.T @ D
        self._cross += D.T @ X
        self._squares += np.square(X).sum(axis=0)

    def fit(self) -> Regression:
        """Return the effects; zero where there is nothing to explain."""
        count = np.maximum(self._count, 1)[:, None]
        gram = self._gram - self._design.T @ (self._design / count)
        cross = self._cross - self._design.T @ (self._sum / count)
        total = self._squares - (np.square(self._sum) / count).sum(axis=0)
        coefficients = linalg.solve(gram + RIDGE * np.eye(len(gram)), cross, assume_a="pos")
        removed = (coefficients * (2 * cross - gram @ coefficients)).sum(axis=0)
        varies = total > np.finfo(np.float32).eps ** 2 * self._squares
        share = float((removed[varies] / total[varies]).mean()) if varies.any() else 0.0
        logger.info(
            "regression on %s: %.1f %% of the variance within batches removed",
            listing([*([POSITION] if len(self.covariates.rows) else []), *self.covariates.names]), 100 * share,
        )  # fmt: skip
        return Regression(self.covariates, coefficients, share)


def fit_regression(chunks: Chunks, obs: pd.DataFrame, names: Sequence[str], batch: str) -> Regression:
    """Fit the effects of covariates, in one pass over the wells; see :func:`find_covariates` for what goes in."""
    covariates = find_covariates(obs, names, batch)
    sums = RegressionSums(covariates, batch, chunks.shape[1])
    for number, rows in enumerate(progress(chunks.rows, description="regression: reading", unit="chunk")):
        sums.add(obs.iloc[rows], chunks.read(number))
    return sums.fit()


def find_covariates(obs: pd.DataFrame, names: Sequence[str], batch: str) -> Covariates:
    """Return the covariates of the wells of a fit, and say which of their numbers are missing or constant.

    Parameters
    ----------
    obs
        All wells of the fit, with ``row``, ``column``, ``perturbation``, ``role`` and the columns named.
    names
        ``position``, or columns with numbers.
    batch
        Column of ``obs`` with the batch.

    Raises
    ------
    ConfigError
        A column does not exist or holds no numbers.
    """
    numbers = np.array([name for name in names if name != POSITION], dtype=str)
    batches, mean, deviation = _standards(obs, numbers, batch)
    values = _numbers(obs, numbers)
    for position, name in enumerate(numbers):
        constant = batches[np.isinf(deviation[:, position])]
        if len(constant):
            logger.warning(
                "regression on %s: constant in %d of %d batches, where it has no effect: %s",
                name, len(constant), len(batches), listing(constant),
            )  # fmt: skip
        missing = obs.index[~np.isfinite(values[:, position])]
        if len(missing):
            logger.warning(
                "regression on %s: missing in %d of %d wells, which stay as they are: %s",
                name, len(missing), len(obs), listing(missing),
            )  # fmt: skip
    rows, columns = (
        np.unique(obs[name].to_numpy(dtype=np.int64)) if POSITION in names else np.zeros(0, np.int64)
        for name in ("row", "column")
    )
    return Covariates(rows, columns, numbers, batches, mean, deviation)


def report_nesting(obs: pd.DataFrame, covariates: Covariates, batch: str) -> dict[str, float]:
    """Warn of covariates that are confounded with perturbations, and return how far they are.

    Parameters
    ----------
    obs
        All wells of the fit.
    covariates, batch
        As for :class:`RegressionSums`.

    Returns
    -------
    dict
        Under ``position`` the share of perturbations of more than one well all of whose wells lie at one position;
        under each other name the share of its variance within batches between perturbations, less what chance gives
        (the epsilon squared of Kelley 1935). Nothing where no perturbation has two wells.
    """
    treated = obs[(obs["role"] == "treatment").to_numpy()]
    codes = pd.factorize(treated["perturbation"].astype(object))[0]
    counts = np.bincount(codes[codes >= 0])
    shares: dict[str, float] = {}
    if not (counts > 1).any():
        return shares
    if len(covariates.rows):
        places = treated.groupby(codes)[["row", "column"]].nunique().loc[lambda table: table.index >= 0]
        shares[POSITION] = float((places[counts > 1] == 1).all(axis=1).mean())
    numbers = covariates.design(treated, batch)[:, len(covariates.rows) + len(covariates.columns) :]
    shares |= {
        str(name): _epsilon_squared(column, codes) for name, column in zip(covariates.names, numbers.T, strict=True)
    }
    texts = {POSITION: "of the perturbations lie at one position of all their plates"}
    for name, share in shares.items():
        if share > NESTED_SHARE:
            logger.warning(
                "regression on %s: %.0f %% %s: part of their effects is removed with it",
                name, 100 * share, texts.get(name, "of its variance lies between perturbations"),
            )  # fmt: skip
    return shares


def _epsilon_squared(values: NDArray, codes: NDArray) -> float:
    """Return the share of variance between groups, corrected for the number of groups; NaN where nothing varies."""
    groups = pd.Series(values).groupby(codes)
    within_freedom = len(values) - groups.ngroups
    within = ((values - groups.transform("mean")) ** 2).sum() / max(within_freedom, 1)
    total = np.var(values, ddof=1)
    return float(max(1 - within / total, 0)) if total > 0 and within_freedom > 0 else float("nan")


def _standards(
    obs: pd.DataFrame, names: NDArray[np.str_], batch: str
) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]:
    """Return batches, and mean and deviation of the numbers in each."""
    batches, codes = np.unique(obs[batch].to_numpy(dtype=str), return_inverse=True)
    values = pd.DataFrame(_numbers(obs, names)).replace([np.inf, -np.inf], np.nan).groupby(codes)
    mean = values.mean().to_numpy(dtype=float).reshape(len(batches), len(names))
    deviation = values.std().to_numpy(dtype=float).reshape(len(batches), len(names))
    varies = deviation > np.finfo(np.float32).eps * np.abs(mean)  # False for NaN
    return batches, np.nan_to_num(mean), np.where(varies, deviation, np.inf)


def _numbers(obs: pd.DataFrame, names: NDArray[np.str_]) -> NDArray[np.float64]:
    columns = [numeric_column(obs, str(name), key=KEY) for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(obs), 0))
