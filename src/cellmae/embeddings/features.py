"""Profiles that were measured elsewhere, as embeddings: they stand beside the models on the same screen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellmae.embeddings.wells import write_embeddings
from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.annotations import annotate
from cellmae.screen.metadata import COMMON_PREFIX, find_column, read_metadata

KEY = "models.table"
MAX_MISSING_SHARE = 0.05
"""Of the wells, over all plates; a feature that misses more is left out."""


def embed_features(
    *,
    table: str | Path,
    plate: Mapping[str, str],
    columns: Mapping[str, Any],
    features: str | Sequence[str] | None,
    model: str,
    output: str | Path,
    manifest: str | Path,
) -> None:
    """Take the wells of a plate from a table of profiles.

    A feature that is missing or infinite in more than 5 % of all wells of the table is left out, so on every
    plate alike; then a well that still misses a feature is lost. The manifest counts the former and lists both.

    Parameters
    ----------
    table
        A row a well: CSV, TSV or Parquet.
    plate
        ``slug``, ``name``, ``experiment`` and ``batch`` of the plate.
    columns
        Names of the table's columns for ``well``, ``plate`` and, where plates of several experiments have the same
        name, ``batch``.
    features
        Names of the features' columns, or a regular expression that finds them; None takes all numbers but those
        in ``columns`` and those that begin with ``Metadata_``.
    model
        Name of the model.
    output, manifest
        Files to write, see :func:`cellmae.embeddings.embed_plate`.

    Raises
    ------
    ConfigError
        A column does not exist, or there is no feature.
    DataError
        The table has no row of the plate, several of one well, or only wells with missing values.
    """
    path = Path(table)
    rows = read_metadata(path, key=KEY)
    names, keys = _name_wells(rows, columns, path)
    values = _read_features(rows, select_features(rows, features, spared=keys, path=path))
    share = values.isna().mean()
    dropped = [str(name) for name in share.index[share > MAX_MISSING_SHARE]]
    values = values.drop(columns=dropped)
    if values.empty:
        raise DataError(f"{path}: every feature is missing in more than {MAX_MISSING_SHARE:.0%} of the wells")

    wells = _wells_of_plate(names, plate, path)
    values = values.loc[wells.index]
    whole = values.notna().all(axis=1)
    if not whole.any():
        raise DataError(f"{path}: every well of the plate '{plate['name']}' misses a feature")
    _report_losses(plate["slug"], len(dropped), int((~whole).sum()))

    identity = {"plate": plate["slug"], "plate_name": plate["name"], "batch": plate["batch"]}
    write_embeddings(
        output,
        manifest,
        vectors=values[whole].to_numpy(),
        features=values.columns,
        obs=wells[whole].assign(**identity)[[*identity, *wells.columns]],
        source={"model": model, "weights_digest": ""},
        lost=[{"well": well, "reason": "a feature is missing"} for well in wells.loc[~whole, "well"]],
        dropped_features=dropped,
    )


def _name_wells(rows: pd.DataFrame, columns: Mapping[str, Any], path: Path) -> tuple[pd.DataFrame, set[str]]:
    """Return ``plate_name``, ``well``, ``row``, ``column``, perhaps ``experiment`` of each row, and their columns."""
    uses = {"plate": "plate", "well": "well"} | {
        use: columns[use] for use in ("plate", "well", "batch") if use in columns
    }
    keys = {
        find_column(name, rows.columns, key=f"screen.columns.{use}", path=path)
        for use, named in uses.items()
        for name in ([named] if isinstance(named, str) else named)
    }
    # What was done to the wells is of no interest here: the well itself stands for it.
    names = annotate(rows[list(keys)], uses | {"perturbation": uses["well"]}, {}, path=path)
    return names, keys


def _wells_of_plate(names: pd.DataFrame, plate: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Return ``well``, ``row`` and ``column`` of a plate's rows, in the order of rows and columns."""
    here = names["plate_name"] == plate["name"]
    if "experiment" in names:
        here &= names["experiment"] == plate["experiment"]
    wells = names.loc[here, ["well", "row", "column"]].sort_values(["row", "column"])
    if wells.empty:
        raise DataError(f"{path} has no row of the plate '{plate['name']}': look at the key screen.columns.plate")
    twice = wells.loc[wells["well"].duplicated(), "well"]
    if len(twice):
        raise DataError(
            f"{path}: the well {twice.iloc[0]} of the plate '{plate['name']}' has several rows; keep one a well"
        )
    return wells.astype({"row": "int32", "column": "int32"})


def select_features(
    rows: pd.DataFrame, features: str | Sequence[str] | None, *, spared: set[str], path: Path
) -> list[str]:
    """Return the columns that are features; see :func:`embed_features`."""
    if features is None:
        chosen = [
            name
            for name in rows.columns
            if name not in spared and not name.lower().startswith(COMMON_PREFIX) and _is_numeric(rows[name])
        ]
        wanted = "numbers"
    elif isinstance(features, str):
        chosen = [name for name in rows.columns if name not in spared and re.search(features, name)]
        wanted = f"names that match '{features}'"
    else:
        absent = [name for name in features if name not in rows]
        if absent:
            raise ConfigError(f"models.columns: {path} has no column '{absent[0]}'; correct the list")
        chosen, wanted = list(features), "names"
    if not chosen:
        raise ConfigError(f"models.columns: {path} has no columns with {wanted}; name the features' columns")
    return chosen


def _is_numeric(column: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(column):
        return False
    numbers = _numbers(column)
    return bool(numbers.notna().any()) and not _is_garbled(column, numbers).any()


def _numbers(column: pd.Series) -> pd.Series:
    """Return a column as numbers; text that is none becomes NaN."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return pd.to_numeric(column.astype("object"), errors="coerce")


def _is_garbled(column: pd.Series, numbers: pd.Series) -> pd.Series:
    return numbers.isna() & column.notna()


def _read_features(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return columns as float32, with infinite values as missing ones."""
    columns = {}
    for name in names:
        numbers = _numbers(rows[name])
        garbled = rows.loc[_is_garbled(rows[name], numbers), name]
        if len(garbled):
            raise ConfigError(f"models.columns: '{name}' holds '{garbled.iloc[0]}', no number; choose other columns")
        columns[name] = numbers.to_numpy(np.float32, na_value=np.nan)
    return pd.DataFrame(columns, index=rows.index).replace([np.inf, -np.inf], np.nan)


def _report_losses(plate: str, features: int, wells: int) -> None:
    if features:
        logger.warning(
            "%d features are missing in more than %.0f %% of all wells: left out", features, 100 * MAX_MISSING_SHARE
        )
    if wells:
        logger.warning("%s: %d wells miss a feature: lost", plate, wells)
