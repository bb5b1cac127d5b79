"""Reads tables that people wrote: plate maps, metadata, profiles; as CSV, TSV or Parquet."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from cellmae.errors import ConfigError, DataError
from cellmae.screen.listing import listing

TEXT = pd.StringDtype("pyarrow")
MISSING = ["", "NA", "N/A", "NaN", "nan"]
COMMON_PREFIX = "metadata_"  # pycytominer's, in lower case
ROWS_AT_ONCE = 2**20


def column_names(path: Path, *, key: str) -> list[str]:
    """Return the names of a table's columns without reading the table.

    Parameters
    ----------
    path
        File that ends in ``.csv``, ``.tsv``, ``.txt`` (tab-separated; all three also with ``.gz``) or ``.parquet``.
    key
        Key of the configuration that names the file, for messages.

    Raises
    ------
    ConfigError
        If there is no such file, or it is of no known kind.
    DataError
        If it cannot be read, or two columns have the same name.
    """
    separator = _separator(path, key)
    try:
        with _opened(path) as file:
            if separator is None:
                names = pa.parquet.read_schema(file).names
            else:
                with pa.csv.open_csv(file, parse_options=pa.csv.ParseOptions(delimiter=separator)) as reader:
                    names = reader.schema.names
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {_first_line(error)}") from None
    names = [name for name in names if not name.startswith("__index_level_")]  # a pandas index without a name
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{path} has several columns named {listing(sorted(twice))}: rename all but one")
    return names


def read_metadata(path: Path, columns: Collection[str] | None = None, *, key: str) -> pd.DataFrame:
    """Read a table, or some of its columns; what a CSV file holds stays text.

    Barcodes such as ``0012`` would suffer from guessed types, see :func:`as_text` and :func:`as_numbers`. Rows
    without any value are left out. Parameters and errors are those of :func:`column_names`.
    """
    names = [name for name in column_names(path, key=key) if columns is None or name in columns]
    separator = _separator(path, key)
    try:
        with _opened(path) as file:
            if separator is None:
                table = pa.parquet.read_table(file, columns=names)
            else:
                table = pa.csv.read_csv(file, **_text_options(names, separator))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {_first_line(error)}") from None
    return _frame(table).dropna(how="all").reset_index(drop=True)


def read_some(
    path: Path, columns: Collection[str], *, key: str, where: pc.Expression | None = None, distinct: bool = False
) -> pd.DataFrame:
    """Read part of a table that may be larger than memory, as :func:`read_metadata` would read it.

    Parameters
    ----------
    columns
        The columns to read.
    where
        Which rows, in terms of the columns; of a Parquet file, row groups that hold none of them are not read.
    distinct
        Keep one of the rows that are equal in all columns.
    """
    names = [name for name in column_names(path, key=key) if name in columns]
    parts = []
    try:
        with _opened(path) as file:
            for table in _parts(file, names, _separator(path, key), where):
                part = _frame(table).dropna(how="all")
                parts.append(part.drop_duplicates() if distinct else part)
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names, dtype=TEXT)
        return frame.drop_duplicates(ignore_index=True) if distinct else frame
    except (pa.ArrowInvalid, OSError, TypeError) as error:  # a list cannot be compared
        raise DataError(f"{path} cannot be read as a table: {_first_line(error)}") from None


def find_column(name: str, names: Iterable[str], *, key: str, path: Path) -> str:
    """Return the column that is meant by ``name``; pycytominer's prefix ``Metadata_`` and case do not count.

    Raises
    ------
    ConfigError
        If there is no such column; the message lists those there are.
    """
    names = list(names)
    if name in names:
        return name
    same = [other for other in names if plain_name(other) == plain_name(name)]
    if len(same) == 1:
        return same[0]
    known = sorted(names, key=lambda other: not other.lower().startswith(COMMON_PREFIX))
    raise ConfigError(f"{key}: {path} has no column {name!r}; its columns are {listing(known, 20)}")


def plain_name(name: str) -> str:
    """Return the name of a column in lower case and without pycytominer's prefix."""
    return name.lower().removeprefix(COMMON_PREFIX)


def as_text(column: pd.Series) -> pd.Series:
    """Return a column as text; missing stays missing, and whole numbers have no ``.0``."""
    if column.dtype != TEXT:
        if pd.api.types.is_float_dtype(column):
            return _number_labels(column)
        column = column.astype("object").where(column.notna(), None).map(str, na_action="ignore").astype(TEXT)
    stripped = column.str.strip()
    return stripped.mask(stripped == "")


def as_label(column: pd.Series) -> pd.Series:
    """Return a column as text for a label, in which 50, 50.0 and 5e1 are the same dose.

    Only columns with a decimal point or exponent somewhere count as numbers: codes such as ``0012`` stay as
    they are.
    """
    text = as_text(column)
    numbers = as_numbers(text)
    if pd.api.types.is_float_dtype(numbers) and text.str.contains(r"[.eE]", regex=True).any():
        return _number_labels(numbers)
    return text


def as_numbers(column: pd.Series) -> pd.Series:
    """Return a text column that holds nothing but numbers as int, or as float where it has fractions or gaps.

    Other columns, and those with codes such as ``0012``, come back unchanged.
    """
    values = column.dropna()
    if column.dtype != TEXT or values.empty or values.str.match(r"[+-]?0[0-9]").any():
        return column
    numbers = pd.to_numeric(values.astype("object"), errors="coerce")
    if numbers.isna().any():
        return column
    return numbers.reindex(column.index)


def _number_labels(numbers: pd.Series) -> pd.Series:
    labels = {value: repr(value).removesuffix(".0") for value in numbers.dropna().unique().tolist()}
    return numbers.map(labels).astype(TEXT)


def _separator(path: Path, key: str) -> str | None:
    """Return what separates the columns of a text file; None for Parquet."""
    if not path.is_file():
        raise ConfigError(f"{key}: the file {path} does not exist")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    separators = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".parquet": None}
    if suffix not in separators:
        raise ConfigError(f"{key}: {path} is of no known kind; expected is one of {', '.join(separators)}")
    return separators[suffix]


def _parts(file: Any, names: list[str], separator: str | None, where: pc.Expression | None) -> Iterator[pa.Table]:
    if separator is not None:
        with pa.csv.open_csv(file, **_text_options(names, separator)) as reader:
            for batch in reader:
                part = pa.Table.from_batches([batch])
                yield part if where is None else part.filter(where)
    elif where is not None:
        yield pa.parquet.read_table(file, columns=names, filters=where)
    else:
        for batch in pa.parquet.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=names):
            yield pa.Table.from_batches([batch])


def _text_options(names: list[str], separator: str) -> dict[str, Any]:
    """Return options that leave all that a CSV file holds as text."""
    return {
        "parse_options": pa.csv.ParseOptions(delimiter=separator),
        "convert_options": pa.csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=MISSING,
        ),
    }


def _frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper={pa.string(): TEXT, pa.large_string(): TEXT}.get, ignore_metadata=True)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a table, on disk or in object storage, as what it is unpacked."""
    with path.open("rb") as file:
        yield pa.CompressedInputStream(pa.PythonFile(file), "gzip") if path.name.endswith(".gz") else file


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
