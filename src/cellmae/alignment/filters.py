"""Wells left out by what was measured of them, or because the cells do not express their gene: EFAAR's filter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from cellmae.alignment.chunks import PlateChunks
from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.listing import counted, listing

EXPRESSED = "expressed"
KEY = "alignments.*.filter"


@dataclass(frozen=True)
class WellFilter:
    """Which wells are left out.

    Attributes
    ----------
    columns, low, high
        Columns of wells and their limits, which are kept; infinite where there is none.
    unexpressed
        Genes whose wells are left out, in alphabetical order.
    """

    columns: NDArray[np.str_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    unexpressed: NDArray[np.str_]

    def measured(self, obs: pd.DataFrame) -> pd.Series:
        """Return why each well is left out for a value, before anything is fitted; None for the others.

        Parameters
        ----------
        obs
            Wells, with the columns of the filter.

        Raises
        ------
        ConfigError
            A column does not exist or holds no numbers.
        """
        reasons = np.full(len(obs), None, dtype=object)
        for name, low, high in zip(self.columns, self.low, self.high, strict=True):
            values = numeric_column(obs, str(name), key=KEY)
            tests = {"missing": np.isnan(values), f"below {low:g}": values < low, f"above {high:g}": values > high}
            for text, wrong in tests.items():
                reasons[wrong & pd.isna(reasons)] = f"{name} {text}"
        return pd.Series(reasons, index=obs.index)

    def expressed(self, obs: pd.DataFrame, genes: pd.Index) -> pd.Series:
        """Return why each well is left out for its gene, after all is fitted; None for the others.

        Genes that the cells do not express serve the correction of chromosome arms, so the fit sees them.

        Parameters
        ----------
        obs
            Wells, with ``role``; controls are never left out.
        genes
            Gene of each well, as the table of expression calls it.
        """
        treated = (obs["role"] == "treatment").to_numpy()
        reasons = np.full(len(obs), None, dtype=object)
        reasons[treated & genes.isin(self.unexpressed)] = "not expressed"
        return pd.Series(reasons, index=obs.index)


def make_filter(limits: Mapping[str, Any], expression: pd.Series | None = None) -> WellFilter:
    """Return the filter that a configuration describes.

    Parameters
    ----------
    limits
        ``min`` and ``max`` of columns, and under ``expressed`` the lowest zFPKM of an expressed gene.
    expression
        zFPKM by gene, which ``expressed`` needs.
    """
    columns = {name: bounds for name, bounds in limits.items() if name != EXPRESSED}
    least = limits.get(EXPRESSED)
    if least is not None and expression is None:
        raise ConfigError(f"{KEY}.{EXPRESSED}: a table of zFPKM is needed; give genes.expression")
    low, high = (
        np.array([default if bounds.get(key) is None else bounds[key] for bounds in columns.values()], dtype=float)
        for key, default in (("min", -np.inf), ("max", np.inf))
    )
    unexpressed = sorted(expression.index[expression < least]) if expression is not None and least is not None else []
    return WellFilter(np.array(list(columns), dtype=str), low, high, np.array(unexpressed, dtype=str))


def leave_out(adata: AnnData, chunks: PlateChunks, reasons: pd.Series) -> tuple[AnnData, PlateChunks]:
    """Return the wells that have no reason to be left out; the others are counted, listed and kept on record.

    Parameters
    ----------
    adata, chunks
        As :func:`~cellmae.alignment.annotation.annotate_apart` returns them.
    reasons
        Why each well is left out, missing for those that stay.

    Returns
    -------
    tuple
        The wells that stay, with the numbers of the others by reason in ``uns["cellmae"]["wells"]``.
    """
    stays = reasons.isna().to_numpy()
    if stays.all():
        return adata, chunks
    counts = report_left_out(reasons)
    kept = []
    for own, rows in zip(chunks.kept, chunks.rows, strict=True):
        still = own.copy()
        still[own] = stays[rows]
        kept.append(still)
    adata = adata[stays].copy()
    wells = adata.uns["cellmae"]["wells"]
    adata.uns["cellmae"]["wells"] = {**wells, **counts, "kept": int(stays.sum())}
    return adata, replace(chunks, kept=kept)


def report_left_out(reasons: pd.Series) -> dict[str, int]:
    """Log which wells are left out and why; return the number of wells by reason, most frequent first.

    Parameters
    ----------
    reasons
        By well; missing for those that stay.

    Raises
    ------
    DataError
        No well stays.
    """
    left_out = reasons.dropna()
    counts = {str(reason): int(count) for reason, count in left_out.value_counts().sort_index(kind="stable").items()}
    counts = dict(sorted(counts.items(), key=lambda item: -item[1]))
    for reason, count in counts.items():
        wells = left_out.index[left_out == reason]
        logger.warning("filter: %d of %d wells left out, %s: %s", count, len(reasons), reason, listing(wells))
    if len(left_out) == len(reasons):
        raise DataError(f"{KEY}: leaves none of {len(reasons)} wells ({counted(counts)}): widen its limits")
    return counts


def numeric_column(obs: pd.DataFrame, name: str, *, key: str) -> NDArray[np.float64]:
    """Return a column of wells as numbers, NaN where one is missing; :class:`ConfigError` where it holds none."""
    numeric = [column for column in obs if _is_numeric(obs[column])]
    if name not in numeric:
        found = "holds no numbers" if name in obs else "does not exist"
        raise ConfigError(f"{key}: the column {name!r} of wells {found}; those with numbers are {listing(numeric, 30)}")
    values: NDArray[np.float64] = obs[name].to_numpy(dtype=float, na_value=np.nan)
    return values


def _is_numeric(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)
