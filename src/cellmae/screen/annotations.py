"""What was done to each well: from the rows of a table that people wrote to one row a well."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.screen.listing import listing
from cellmae.screen.metadata import TEXT, as_label, as_numbers, as_text, find_column, plain_name
from cellmae.screen.wells import parse_wells

KEYS = ["experiment", "plate_name", "well"]
FACTS = ["perturbation", "treatment", "is_control", "is_positive_control"]
TAKEN = {*KEYS, *FACTS, "plate", "batch", "row", "column", "role"}
LABELS_LISTED = 10
NAMELESS_CONTROL = "negative_control"


def annotate(
    table: pd.DataFrame, columns: Mapping[str, Any], control_where: Mapping[str, Any], *, path: Path
) -> pd.DataFrame:
    """Translate a table into annotations.

    Parameters
    ----------
    table
        As :func:`cellmae.screen.metadata.read_metadata` gives it.
    columns
        The configuration's ``columns``: which columns hold ``well`` and ``perturbation``, and, if there are any,
        ``plate``, ``treatment`` (otherwise the same as ``perturbation``) and ``batch``. Several columns are joined
        with ``_``.
    control_where
        Rows that are negative controls by another column: ``{column: [values]}`` or ``{column: {not: [values]}}``;
        ``{column: None}`` for those that have no value there.
    path
        Where the table comes from, for messages.

    Returns
    -------
    pandas.DataFrame
        A row a row of ``table``: ``experiment`` (if ``batch`` is given), ``plate_name`` (if ``plate`` is),
        ``well``, ``row``, ``column``, ``perturbation``, ``treatment``, ``is_control``, and the other columns under
        lower-case names.

    Raises
    ------
    ConfigError
        If a column does not exist, or values of ``control_where`` do not occur.
    DataError
        If a row has no well, plate or batch.
    """
    sources = {
        use: [find_column(name, table.columns, key=f"screen.columns.{use}", path=path) for name in _as_list(names)]
        for use, names in columns.items()
    }
    result = parse_wells(as_text(table[sources["well"][0]]))
    for use, name in (("batch", "experiment"), ("plate", "plate_name")):
        if use in sources:
            result.insert(0, name, join_columns(table, sources[use], as_text))
            if result[name].isna().any():
                raise DataError(f"{path}: {result[name].isna().sum()} rows have no {use}; fill it in or remove them")
    result["perturbation"] = join_columns(table, sources["perturbation"], as_label)
    result["treatment"] = join_columns(table, sources.get("treatment", sources["perturbation"]), as_label)
    result["is_control"] = _control_rows(table, control_where, path)
    for name in ("perturbation", "treatment"):  # a control that has no name is still there on the map
        result[name] = result[name].mask(result["is_control"] & result[name].isna(), NAMELESS_CONTROL)

    copied = {names[0] for names in sources.values() if len(names) == 1}
    extras = table.drop(columns=list(copied)).apply(_extra)
    extras.columns = [_extra_name(name) for name in extras.columns]
    twice = extras.columns[extras.columns.duplicated()]
    if len(twice):
        raise DataError(f"{path} has several columns that become {listing(twice)} in lower case: rename all but one")
    return pd.concat([result, extras], axis=1)


def one_row_a_well(annotations: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of each well, of which there may be one a field or a channel.

    Columns that differ within a well (a site number, a file name) tell nothing of the well and are left out.

    Raises
    ------
    DataError
        If rows of one well disagree on its perturbation, treatment or role.
    """
    keys = [key for key in KEYS if key in annotations]
    if not annotations.duplicated(keys).any():
        return annotations
    facts = [name for name in FACTS if name in annotations]
    distinct = annotations.drop_duplicates([*keys, *facts])
    clashes = distinct[distinct.duplicated(keys, keep=False)].sort_values(keys, kind="stable")
    if len(clashes):
        wells = clashes.drop_duplicates(keys)
        first = clashes[(clashes[keys] == clashes[keys].iloc[0]).all(axis=1)]
        said = " and as ".join(repr(str(value)) for value in first["treatment"].head(2))
        raise DataError(
            f"rows of one well contradict each other, for {listing(_well_labels(wells))}: the first is annotated "
            f"as {said}; correct the table"
        )
    extras = [name for name in annotations.columns if name not in [*keys, *facts]]
    groups = annotations.groupby(keys, sort=False, dropna=False)
    constant = [name for name in extras if groups[name].nunique(dropna=False).le(1).all()]
    return annotations.drop_duplicates(keys)[[*keys, *facts, *constant]].reset_index(drop=True)


def check_unique_wells(annotations: pd.DataFrame) -> None:
    """Raise :class:`DataError` and list some, if a well of a plate is annotated twice."""
    twice = annotations[annotations.duplicated(KEYS)].drop_duplicates(KEYS)
    if len(twice):
        raise DataError(
            f"{len(twice)} wells are annotated more than once: {listing(_well_labels(twice))}; keep one row a well"
        )


def add_roles(annotations: pd.DataFrame, controls: Sequence[str], positive_controls: Sequence[str]) -> pd.DataFrame:
    """Replace ``is_control`` and ``is_positive_control`` by ``role``.

    It is ``treatment``, ``negative_control``, ``positive_control`` or ``empty``.
    """
    label = annotations["perturbation"]
    positive = annotations.get("is_positive_control", pd.Series(False, index=annotations.index))
    conditions = [
        annotations["is_control"].to_numpy(bool) | label.isin(controls).to_numpy(bool),
        positive.to_numpy(bool) | label.isin(positive_controls).to_numpy(bool),
        label.isna().to_numpy(bool),
    ]
    role = np.select(conditions, ["negative_control", "positive_control", "empty"], "treatment")
    flags = annotations.columns.intersection(["is_control", "is_positive_control"])
    return annotations.drop(columns=flags).assign(role=pd.array(role, dtype=TEXT))


def check_control_labels(labels: pd.Series, controls: Sequence[str], positive_controls: Sequence[str]) -> None:
    """Raise :class:`ConfigError` if a control's label occurs in both lists, or not in the screen."""
    both = sorted(set(controls) & set(positive_controls))
    if both:
        raise ConfigError(f"screen.positive_controls: {listing(both)} is a negative control, too; keep it in one list")
    for key, names in (("controls", controls), ("positive_controls", positive_controls)):
        absent = [name for name in names if not (labels == name).any()]
        if absent:
            raise ConfigError(
                f"screen.{key}: no well has the perturbation {listing(map(repr, absent))}; {_frequent(labels)}"
            )


def check_negative_controls(wells: pd.DataFrame) -> None:
    """Raise :class:`ConfigError` if no well is a negative control."""
    if not (wells["role"] == "negative_control").any():
        raise ConfigError(
            "screen.controls: no well of the plates at hand is a negative control; name the label of the control "
            f"wells; {_frequent(wells['perturbation'])}"
        )


def _frequent(labels: pd.Series) -> str:
    return f"labels that occur, most frequent first: {listing(labels.value_counts().index, LABELS_LISTED)}"


def join_columns(table: pd.DataFrame, names: Sequence[str], as_words: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Join columns as text with ``_``; a row misses what it misses, and is missing where all are."""
    joined = as_words(table[names[0]])
    for name in names[1:]:
        words = as_words(table[name])
        joined = joined.str.cat(words, sep="_").fillna(joined).fillna(words)
    return joined


def _control_rows(table: pd.DataFrame, control_where: Mapping[str, Any], path: Path) -> pd.Series:
    """Mark the rows where all conditions hold; a missing value is a control's only where nothing is asked for."""
    marked = pd.Series(bool(control_where), index=table.index)
    for name, condition in control_where.items():
        key = f"screen.control_where.{name}"
        column = as_label(table[find_column(name, table.columns, key=key, path=path)])
        if condition is None:
            marked &= column.isna()
            continue
        inverted = isinstance(condition, Mapping)
        labels = as_label(pd.Series(_as_list(condition["not"] if inverted else condition))).tolist()
        occurring = column.value_counts().index
        absent = [label for label in labels if label not in occurring]
        if absent:
            raise ConfigError(
                f"{key}: {listing(map(repr, absent))} does not occur; values that occur, most frequent first: "
                f"{listing(occurring, LABELS_LISTED)}"
            )
        listed = column.isin(labels)
        marked &= column.notna() & ~listed if inverted else listed
    return marked.astype(bool)


def _extra(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else as_numbers(as_text(column))


def _extra_name(name: str) -> str:
    """Return the lower-case name of a column that is passed on; a name of the contract's own is marked."""
    plain = plain_name(name)
    return f"annotated_{plain}" if plain in TAKEN else plain


def _well_labels(wells: pd.DataFrame) -> list[str]:
    keys = [key for key in KEYS if key in wells]
    return [" ".join(filter(None, map(str, row))) for row in wells[keys].itertuples(index=False)]


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str | int | float) else list(value)
