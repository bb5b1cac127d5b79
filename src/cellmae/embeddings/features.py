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
from cellmae.screen.metadata import COMMON_PREFIX, as_text, find_column, read_metadata
from cellmae.screen.wells import parse_wells

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
    keys = {
        use: find_column(name, rows.columns, key=f"screen.columns.{use}", path=path)
        for use in ("plate", "well", "batch")
        if isinstance(name := columns.get(use, use if use != "batch" else None), str)
    }
    values = _numbers(rows, select_features(rows, features, spared=set(keys.values()), path=path))
    missing = values.isna()
    share = missing.mean()
    dropped = share.index[share > MAX_MISSING_SHARE]
    values = values.drop(columns=dropped)
    if values.empty:
        raise DataError(f"{path}: every feature is missing in more than {MAX_MISSING_SHARE:.0%} of the wells")

    here = as_text(rows[keys["plate"]]) == plate["name"]
    if "batch" in keys and plate["experiment"]:
        here &= as_text(rows[keys["batch"]]) == plate["experiment"]
    here = here.fillna(False).to_numpy(bool)
    if not here.any():
        raise DataError(f"{path} has no row of the plate '{plate['name']}' in its column '{keys['plate']}'")
    wells = parse_wells(as_text(rows.loc[here, keys["well"]]))
    if wells["well"].duplicated().any():
        twice = wells.loc[wells["well"].duplicated(), "well"].iloc[0]
        raise DataError(f"{path}: the well {twice} of the plate '{plate['name']}' has several rows; keep one a well")
    values, whole = values[here], ~missing.loc[here, values.columns].any(axis=1)
    if not whole.any():
        raise DataError(f"{path}: every well of the plate '{plate['name']}' misses a feature")
    _report_losses(plate["slug"], len(dropped), int((~whole).sum()))

    obs = wells[whole].sort_values(["row", "column"])
    vectors = values.loc[obs.index].to_numpy(np.float32)
    obs = obs[["well", "row", "column"]].astype({"row": "int32", "column": "int32"})
    identity = {"plate": plate["slug"], "plate_name": plate["name"], "batch": plate["batch"]}
    write_embeddings(
        output,
        manifest,
        vectors=vectors,
        features=pd.Index(values.columns.astype(str)),
        obs=obs.assign(**identity)[[*identity, "well", "row", "column"]],
        source={"model": model, "weights_digest": ""},
        lost=[{"well": well, "reason": "a feature is missing"} for well in wells.loc[~whole, "well"].sort_values()],
        dropped_features=list(map(str, dropped)),
    )


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
    if pd.api.types.is_numeric_dtype(column):
        return True
    present = column.dropna()
    return len(present) > 0 and bool(pd.to_numeric(present.astype("object"), errors="coerce").notna().all())


def _numbers(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return columns as float32, with infinite values as missing ones."""
    columns = {}
    for name in names:
        column = pd.to_numeric(rows[name].astype("object"), errors="coerce")
        if (column.isna() & rows[name].notna()).any():
            wrong = rows.loc[column.isna() & rows[name].notna(), name].iloc[0]
            raise ConfigError(f"models.columns: '{name}' holds '{wrong}', which is no number; choose other columns")
        columns[name] = column.to_numpy(np.float32)
    return pd.DataFrame(columns, index=rows.index).replace([np.inf, -np.inf], np.nan)


def _report_losses(plate: str, features: int, wells: int) -> None:
    if features:
        logger.warning(
            "%d features are missing in more than %.0f %% of all wells: left out", features, 100 * MAX_MISSING_SHARE
        )
    if wells:
        logger.warning("%s: %d wells miss a feature: lost", plate, wells)
