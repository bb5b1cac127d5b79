"""Writes and reads the tables of this stage, and holds them to their schema, column by column."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import infer_dtype, is_bool_dtype, is_integer_dtype, is_numeric_dtype

from cellmae.errors import DamagedError, DataError
from cellmae.files import atomic_path
from cellmae.screen.listing import listing


def write_table(path: str | Path, table: pd.DataFrame, *, schema: str | Path) -> None:
    """Check a table against the JSON schema of its rows (a YAML file), and write it as Parquet, atomically."""
    rules = yaml.safe_load(Path(schema).read_text())
    check_table(table, rules, name=Path(path).name)
    with atomic_path(path) as partial:
        table.to_parquet(partial, index=False, write_page_checksum=True)


def read_fields(path: str | Path) -> pd.DataFrame:
    """Read a fields table, see :func:`cellmae.screen.index_fields`; :class:`DataError` where it cannot be read."""
    return _read(path)


def read_wells(path: str | Path) -> pd.DataFrame:
    """Read a wells table, see :func:`cellmae.screen.index_wells`; :class:`DataError` where it cannot be read."""
    return _read(path)


def check_table(table: pd.DataFrame, schema: Mapping[str, Any], *, name: str) -> None:
    """Check a table against the JSON schema of one row.

    Whole columns are checked at once, for ``required``, ``properties``, ``patternProperties``,
    ``additionalProperties`` and ``propertyNames``, and in a property for ``type``, ``enum``, ``pattern`` and
    ``minimum``.

    Parameters
    ----------
    table
        The table; a missing value counts as null.
    schema
        The parsed schema.
    name
        What to call the table in messages.

    Raises
    ------
    DataError
        If it does not conform; the message names the column and some of its values.
    """
    missing = [column for column in schema.get("required", ()) if column not in table]
    if missing:
        raise DataError(f"{name} lacks the columns {listing(missing)}; it has {listing(table.columns, 20)}")
    name_pattern = schema.get("propertyNames", {}).get("pattern", "")
    for column in table.columns:
        rule = _rule(schema, column)
        if rule is False or not re.search(name_pattern, column):
            raise DataError(f"{name}: a column named {column!r} is not allowed")
        problem = _problem(table[column], rule)
        if problem:
            raise DataError(f"{name}: the column {column!r} holds {problem}")


def _rule(schema: Mapping[str, Any], column: str) -> Any:
    if column in schema.get("properties", {}):
        return schema["properties"][column]
    for pattern, rule in schema.get("patternProperties", {}).items():
        if re.search(pattern, column):
            return rule
    return schema.get("additionalProperties", {})


def _problem(values: pd.Series, rule: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a column, if anything is; items of lists are held to the same rule as single values."""
    types = rule.get("type", ["null", "string", "number", "boolean"])
    types = [types] if isinstance(types, str) else types
    if "array" in types:
        values = values.explode()
    if values.isna().any() and "null" not in types:
        return f"{values.isna().sum()} missing values; every row needs one"
    present = values.dropna()
    if present.empty:
        return None
    if not any(_is_of_type(present, kind) for kind in types):
        return f"{infer_dtype(present)}s; expected is {' or '.join(types)}"
    distinct = pd.Series(present.unique())
    wrong = distinct.iloc[:0]
    if "enum" in rule:
        wrong = distinct[~distinct.isin(rule["enum"])]
    if wrong.empty and "pattern" in rule:
        wrong = distinct[~distinct.str.contains(rule["pattern"], regex=True)]
    if wrong.empty and "minimum" in rule:
        wrong = distinct[distinct < rule["minimum"]]
    if wrong.empty:
        return None
    expected = {key: rule[key] for key in ("enum", "pattern", "minimum") if key in rule}
    return f"{listing(map(repr, wrong.tolist()), 5)}; expected is {expected}"


def _is_of_type(present: pd.Series, kind: str) -> bool:
    if kind == "string":
        return infer_dtype(present) == "string"
    if kind == "integer":
        return is_integer_dtype(present)
    if kind == "number":
        return is_numeric_dtype(present) and not is_bool_dtype(present)
    return kind == "boolean" and is_bool_dtype(present)


def _read(path: str | Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the stage screen has not finished; run snakemake screen") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        message = f"{path} cannot be read ({reason}): delete it and run snakemake screen"
        raise DamagedError(message, manifest=path) from None
