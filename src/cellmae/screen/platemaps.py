"""Plate maps: what was done to each well, in one table or in several that refer to each other."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.screen.annotations import annotate, one_row_a_well
from cellmae.screen.listing import listing
from cellmae.screen.metadata import TEXT, as_text, plain_name, read_metadata
from cellmae.screen.patterns import TOKEN, FilePattern

COLUMNS = {"well": "well", "perturbation": "perturbation"}
KEY = "screen.plate_map"

# The Cell Painting Gallery: barcode_platemap.csv says which map a plate has, platemap/NAME.txt holds the maps.
BARCODE, MAP_NAME, MAP_WELL = "assay_plate_barcode", "plate_map_name", "well_position"
MAP_FOLDER = "platemap"
MAP_SUFFIXES = (".txt", ".tsv", ".csv")


class PlateMap:
    """The plate map that ``screen.plate_map`` names.

    Parameters
    ----------
    root
        Folder that its paths are relative to.
    screen
        The ``screen`` section of the configuration: ``plate_map``, a table with a row a well, or several of which each
        further one adds columns to the first by those that it shares with it (compounds by their identifier);
        ``columns`` and ``control_where`` as :func:`cellmae.screen.annotations.annotate` takes them. The first may be
        a ``barcode_platemap.csv`` of the Cell Painting Gallery, beside its folder ``platemap``. It may also be a
        pattern of several such tables below the root, whose paths name their ``{batch}`` or ``{plate}``.
    """

    def __init__(self, root: Path, screen: Mapping[str, Any]) -> None:
        named = screen["plate_map"]
        self._root = root
        paths = [named] if isinstance(named, str) else list(named)
        self._first = paths[0]
        self._others = [root / path for path in paths[1:]]
        self._columns = dict(screen.get("columns") or {})
        self._control_where = screen.get("control_where") or {}
        self._searched: list[Path] = []

    def wells(self) -> pd.DataFrame:
        """Return the annotations, a row a well; with ``plate_name`` and ``experiment`` as far as the map names them.

        Raises
        ------
        ConfigError
            A file or column does not exist, or tables have no column in common.
        DataError
            A table cannot be read, contradicts itself, or says two things of one key.
        """
        tables = []
        columns = COLUMNS
        for told, path in self._first_tables:
            table = read_metadata(path, key=KEY)
            if {BARCODE, MAP_NAME} <= {plain_name(name) for name in table.columns}:
                table = _with_maps(path, table)
                columns = columns | {"plate": BARCODE}
            tables.append(table.assign(**{key: pd.array([name] * len(table), TEXT) for key, name in told.items()}))
            columns = columns | {key: key for key in told}
        table = pd.concat(tables, ignore_index=True)
        for path in self._others:
            table = _joined(table, path)
        columns = columns | self._columns
        names = {plain_name(name) for name in table.columns}
        if columns["well"] == "well" and "well" not in names and MAP_WELL in names:
            columns["well"] = MAP_WELL
        _, first = self._first_tables[0]
        return one_row_a_well(annotate(table, columns, self._control_where, path=first))

    def sources(self) -> list[Path]:
        """Return the files that are read, and folders in which more would appear."""
        tables = [path for _, path in self._first_tables]
        folders = [path.parent / MAP_FOLDER for path in tables]
        maps = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
        return [*self._searched, *tables, *self._others, *maps]

    @cached_property
    def _first_tables(self) -> list[tuple[dict[str, str], Path]]:
        """The tables with a row a well, with what their paths tell of the plate."""
        if not TOKEN.search(self._first):
            return [({}, self._root / self._first)]
        found = list(FilePattern(self._first, key=KEY, needs_well=False).find(self._root, visited=self._searched))
        if not found:
            raise ConfigError(f"{KEY}: no file below {self._root} matches {self._first!r}")
        return sorted(found, key=lambda table: table[1].as_posix())


def _with_maps(path: Path, plates: pd.DataFrame) -> pd.DataFrame:
    """Give every plate of a barcode table the rows of its map."""
    plates = plates.rename(columns=plain_name)
    plates[MAP_NAME] = as_text(plates[MAP_NAME])
    tables = []
    for name in plates[MAP_NAME].dropna().unique():
        found = [path.parent / MAP_FOLDER / f"{name}{suffix}" for suffix in MAP_SUFFIXES]
        existing = next((file for file in found if "/" not in name and file.is_file()), None)
        if existing is None:
            raise ConfigError(f"{KEY}: {path} names the map {name!r}, and there is no {found[0]}")
        tables.append(read_metadata(existing, key=KEY).rename(columns=plain_name).assign(**{MAP_NAME: name}))
    shared = set().union(*(table.columns for table in tables)) & set(plates.columns) - {MAP_NAME}
    return plates.drop(columns=sorted(shared)).merge(pd.concat(tables, ignore_index=True), on=MAP_NAME)


def _joined(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the columns of another table; rows that it does not know keep theirs missing."""
    other = read_metadata(path, key=KEY)
    names = {plain_name(name): name for name in table.columns}
    other = other.rename(columns=lambda name: names.get(plain_name(name), name))
    keys = [name for name in other.columns if name in table.columns]
    if not keys:
        raise ConfigError(
            f"{KEY}: {path} shares no column with the table before it; it has {listing(other.columns, 20)}, "
            f"the other {listing(table.columns, 20)}"
        )
    other = other.drop_duplicates()
    twice = other[other.duplicated(keys)]
    if len(twice):
        raise DataError(f"{path} says several things of {listing(twice[keys[0]])}: keep one row for each of {keys}")
    text = {key: as_text(other[key]) for key in keys}
    return table.assign(**{key: as_text(table[key]) for key in keys}).merge(other.assign(**text), on=keys, how="left")
