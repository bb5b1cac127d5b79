"""Tables of images, as people and other tools write them: a row an image, or a row a field."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from cellmae.errors import ConfigError, DataError
from cellmae.files import digest_bytes
from cellmae.screen.annotations import annotate, join_columns, one_row_a_well
from cellmae.screen.listing import listing
from cellmae.screen.metadata import as_text, column_names, find_column, plain_name, read_some
from cellmae.screen.patterns import PLATE_KEYS
from cellmae.screen.references import References
from cellmae.screen.wells import parse_wells

ALIASES = {
    "batch": ("batch", "source"),
    "plate": ("plate",),
    "well": ("well",),
    "row": ("row",),
    "column": ("column", "col"),
    "site": ("site", "fieldid", "field"),
    "z": ("z", "planeid", "plane"),
    "path": ("path",),
    "channel": ("channel",),
}
# What precedes a channel's name in the column of its files, or in those of their folders and names.
CHANNEL_COLUMNS = [
    *[("path_",), ("url_",), ("url_orig",), ("pathname_", "filename_"), ("pathname_orig", "filename_orig")],
    *[("filename_",), ("filename_orig",)],
]
FILE_PREFIXES = ("path_", "url_", "pathname_", "filename_")
IMAGE = ["well", "site", "channel", "z"]


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what of an image.

    Attributes
    ----------
    plate
        Those that name the ``batch`` and the ``plate``, as far as they are told; several are joined.
    well
        The well, or its row and its column.
    site, z, channel
        None where no column tells it.
    files
        By channel (None where rows or images tell the channels): the path, or the folder and the file's name.
    """

    plate: dict[str, list[str]]
    well: list[str]
    site: str | None
    z: str | None
    channel: str | None
    files: dict[str | None, list[str]]

    def of_images(self) -> list[str]:
        """Return all of them."""
        single = [name for name in (self.site, self.z, self.channel) if name is not None]
        return [*self.of_plates(), *self.well, *single, *(name for names in self.files.values() for name in names)]

    def of_plates(self) -> list[str]:
        """Return those that name batches and plates."""
        return [name for names in self.plate.values() for name in names]


class ImageSheet:
    """A table of images.

    A row holds an image (``path``, and its ``channel`` where an image has only one), or a field with a column
    a channel: ``path_NAME``, ``URL_NAME``, ``FileName_NAME`` and ``PathName_NAME``, the last three also with
    ``Orig`` before the name. Beside these, ``plate``, ``batch`` (or ``source``), ``well`` (or ``row`` and
    ``column``), ``site`` (or ``field``) and ``z`` (or ``plane_id``) are known, in any letter case, and with
    pycytominer's prefix ``Metadata_``.

    Parameters
    ----------
    path
        The table, in any form that :mod:`cellmae.screen.metadata` reads.
    screen
        The ``screen`` section of the configuration, of which ``columns`` may rename ``plate``, ``batch`` and
        ``well``, and name ``perturbation`` and ``treatment``.
    channel_ids
        What the table calls the channels that matter.
    references
        The files below the root.
    key
        Key of the configuration that names the table, for messages.
    identity
        Which of ``batch`` and ``plate`` the table is asked for.
    """

    def __init__(
        self,
        path: Path,
        screen: Mapping[str, Any],
        channel_ids: Sequence[str],
        references: References,
        *,
        key: str,
        identity: Collection[str] = PLATE_KEYS,
    ) -> None:
        self.path = path
        self._screen = screen
        self._renamed = dict(screen.get("columns") or {})
        self._channel_ids = list(channel_ids)
        self._references = references
        self._key = key
        self._identity = identity

    def sources(self) -> list[Path]:
        """Return the table."""
        return [self.path]

    def plates(self) -> pd.DataFrame:
        """Return the plates: ``batch`` and ``plate``, as far as the table tells them.

        Raises
        ------
        ConfigError
            A column is missing, or a channel occurs nowhere.
        DataError
            There is no row, or one names no plate.
        """
        columns, rows = self._columns, self._plate_rows
        if rows.empty:
            raise DataError(f"{self.path} names no image: it needs a row an image, or a row a field")
        if columns.channel is not None:
            found = as_text(rows[columns.channel]).dropna().unique()
            absent = [name for name in self._channel_ids if name not in found]
            if absent:
                raise ConfigError(
                    f"screen.channel_ids: {self.path} has no channel {listing(absent)}; its channels are "
                    f"{listing(found, 20)}"
                )
        if not columns.plate:
            return pd.DataFrame(index=[0])
        plates = self._named(rows)
        for use, names in plates.items():
            if names.isna().any():
                raise DataError(f"{self.path}: some rows have no {use}; fill it in or remove them")
        return plates.drop_duplicates(ignore_index=True)

    def digests(self) -> pd.DataFrame:
        """Return :meth:`plates` with ``images_digest``, of what the table says of a plate's images, in any order."""
        rows = read_some(self.path, self._columns.of_images(), key=self._key)
        hashes = pd.util.hash_pandas_object(rows[sorted(rows.columns)], index=False).to_numpy()
        plates = self.plates()
        if plates.columns.empty:  # all rows are of one plate
            return plates.assign(images_digest=digest_bytes(np.sort(hashes).tobytes()))
        keys = pd.MultiIndex.from_frame(self._named(rows).astype("object"))
        numbers = pd.MultiIndex.from_frame(plates.astype("object")).get_indexer(keys)
        groups = pd.Series(hashes).groupby(numbers).indices  # every plate of the table has a row in it
        own = [np.sort(hashes[groups[number]]) for number in range(len(plates))]
        return plates.assign(images_digest=[digest_bytes(values.tobytes()) for values in own])

    def wells(self) -> pd.DataFrame:
        """Return the annotations, a row a well, see :meth:`cellmae.screen.platemaps.PlateMap.wells`."""
        columns, names = self._columns, column_names(self.path, key=self._key)
        facts = {use: self._renamed[use] for use in ("perturbation", "treatment") if use in self._renamed}
        facts.setdefault("perturbation", "perturbation")
        control_where = self._screen.get("control_where") or {}
        asked = [(f"screen.columns.{use}", name) for use, value in facts.items() for name in _as_list(value)]
        asked += [(f"screen.control_where.{name}", name) for name in control_where]
        used = {find_column(name, names, key=key, path=self.path) for key, name in asked}
        others = {name for name in names if not _tells_of_image(name)}
        table = self._read(used | others | {*columns.of_plates(), *columns.well})
        well = columns.well[0]
        if len(columns.well) > 1:
            well = "well"
            table = table.assign(well=self._well_names(table)).drop(columns=list({*columns.well} - used))
        uses = columns.plate | {"well": well} | facts
        return one_row_a_well(annotate(table, uses, control_where, path=self.path))

    @property
    def tells_channels(self) -> bool:
        """Whether an image holds one channel, rather than all."""
        return None not in self._columns.files or self._columns.channel is not None

    def images(self, plate: Mapping[str, str], locate: Callable[[str], str | None] | None = None) -> pd.DataFrame:
        """List the images of a plate.

        Parameters
        ----------
        plate
            ``batch`` and ``plate``, as far as the table tells them.
        locate
            From what the table calls a file to its path below the root, or None;
            :meth:`cellmae.screen.references.References.relative` if left out.

        Returns
        -------
        pandas.DataFrame
            A row an image, as :class:`cellmae.screen.layouts.layout.Layout` has it; ``path`` is null, and ``size``
            and ``mtime_ns`` are 0, where there is no such file.

        Raises
        ------
        DataError
            A path leads outside the root, an image or a file is named twice, a number is none, no row is of a
            known channel, or none of the files exists.
        """
        columns = self._columns
        rows = read_some(self.path, columns.of_images(), key=self._key, where=self._where(plate))
        rows = rows[self._of_plate(rows, plate)]
        fields = parse_wells(self._well_names(rows))
        fields["site"] = self._whole_numbers(rows[columns.site]) if columns.site else 1
        if columns.z:
            fields["z"] = self._whole_numbers(rows[columns.z])
        files = pd.concat(
            [
                fields.assign(
                    channel=as_text(rows[columns.channel]) if columns.channel else channel, named=_paths(rows, names)
                )
                for channel, names in columns.files.items()
            ],
            ignore_index=True,
        )
        if columns.channel:
            files = self._of_known_channels(files)
        self._check_images(files)
        files["path"] = self._located(files, locate or self._references.relative)
        self._check_files(files)
        facts = [self._references.size_and_time(path) if isinstance(path, str) else None for path in files["path"]]
        there = pd.Series([fact is not None for fact in facts], index=files.index, dtype=bool)
        if len(files) and not there.any():
            raise DataError(
                f"{self.path}: none of the {len(files)} images of the plate {plate.get('plate', '')} is below "
                f"{self._references.root}, the first is {files['named'].iloc[0]}: correct screen.root or the table, or "
                "leave the plate out by screen.exclude.plates"
            )
        files["path"] = files["path"].where(there, None)
        files["size"], files["mtime_ns"] = ([(fact or (0, 0))[part] for fact in facts] for part in (0, 1))
        return files.drop(columns="named")

    @cached_property
    def _columns(self) -> Columns:
        names = column_names(self.path, key=self._key)
        known = {use: self._known(use, names) for use in ALIASES}
        plate = {use: self._configured(use, names) or known[use] for use in self._identity}
        position = [*known["row"], *known["column"]]
        well = self._configured("well", names, optional=len(position) > 1) or known["well"] or position
        if well == position and len(position) < 2:
            raise ConfigError(
                f"screen.columns.well: {self.path} has no column for the well; it has {listing(names, 20)}"
            )
        site, z, channel, path = (next(iter(known[use]), None) for use in ("site", "z", "channel", "path"))
        files: dict[str | None, list[str]]
        files = {None: [path]} if path else {name: self._files_of(name, names) for name in self._channel_ids}
        told = {use: columns for use, columns in plate.items() if columns}
        return Columns(told, well, site, z, channel if path else None, files)

    def _known(self, use: str, names: Sequence[str]) -> list[str]:
        """Return the column that everybody calls so, or nothing."""
        for alias in ALIASES[use]:
            found = [name for name in names if plain_name(name).replace("_", "") == alias]
            if len(found) > 1:
                raise DataError(f"{self.path} has several columns for the {use}: {listing(found)}; rename all but one")
            if found:
                return found
        return []

    def _configured(self, use: str, names: Sequence[str], *, optional: bool = False) -> list[str]:
        """Return the columns that the configuration names; beside a plate map, it need not mean this table's."""
        key = f"screen.columns.{use}"
        try:
            return [find_column(name, names, key=key, path=self.path) for name in _as_list(self._renamed.get(use, []))]
        except ConfigError:
            if optional or self._screen.get("plate_map"):
                return []
            raise

    def _files_of(self, channel: str, names: Sequence[str]) -> list[str]:
        """Return the columns with a channel's files."""
        spellings = {plain_name(name): name for name in reversed(names)}
        for prefixes in CHANNEL_COLUMNS:
            wanted = [f"{prefix}{channel.lower()}" for prefix in prefixes]
            if all(name in spellings for name in wanted):
                return [spellings[name] for name in wanted]
        raise ConfigError(
            f"screen.channel_ids: {self.path} has neither a column path nor one with the files of {channel} (such as "
            f"path_{channel}, URL_Orig{channel}, FileName_Orig{channel}); it has {listing(names, 20)}"
        )

    def _read(self, columns: Collection[str]) -> pd.DataFrame:
        """Read columns, without repetitions."""
        return read_some(self.path, columns, key=self._key, distinct=True)

    @cached_property
    def _plate_rows(self) -> pd.DataFrame:
        columns = self._columns
        return self._read([*columns.of_plates(), *columns.well, *([columns.channel] if columns.channel else [])])

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``batch`` and ``plate`` of rows, as far as the table tells them."""
        return pd.DataFrame(
            {use: join_columns(rows, names, as_text) for use, names in self._columns.plate.items()}, index=rows.index
        )

    def _of_plate(self, rows: pd.DataFrame, plate: Mapping[str, str]) -> pd.Series:
        return reduce(
            and_, (names == plate[str(use)] for use, names in self._named(rows).items()), pd.Series(True, rows.index)
        ).fillna(False)

    def _where(self, plate: Mapping[str, str]) -> pc.Expression | None:
        """Say which rows are a plate's, and perhaps some more, in the table's own terms."""
        names = self._columns.of_plates()
        if not names:
            return None
        own = self._plate_rows[self._of_plate(self._plate_rows, plate)]
        return reduce(and_, (pc.field(name).isin(own[name].dropna().unique().tolist()) for name in names))

    def _well_names(self, rows: pd.DataFrame) -> pd.Series:
        names = [as_text(rows[name]) for name in self._columns.well]
        if len(names) == 1:
            return names[0]
        row, column = names
        lettered = row.str.cat(column)
        return lettered.mask(row.str.isdecimal().fillna(False), "r" + row + "c" + column)

    def _whole_numbers(self, column: pd.Series) -> pd.Series:
        text = as_text(column)
        numbers = pd.to_numeric(text.astype("object"), errors="coerce")
        wrong = ~((numbers >= 0) & (numbers % 1 == 0))
        if wrong.any():
            found = listing(map(repr, text[wrong].fillna("").unique()), 5)
            raise DataError(f"{self.path}: the column {column.name} holds {found}; expected are whole numbers")
        return numbers.astype("int64")

    def _of_known_channels(self, files: pd.DataFrame) -> pd.DataFrame:
        known = files["channel"].isin(self._channel_ids)
        if len(files) and not known.any():
            raise DataError(
                f"{self.path}: the images of a plate (first: {_image(files.iloc[0])}) have the channels "
                f"{listing(files['channel'].unique())}; screen.channel_ids expects {listing(self._channel_ids)}"
            )
        return files[known].reset_index(drop=True)

    def _located(self, files: pd.DataFrame, locate: Callable[[str], str | None]) -> pd.Series:
        paths = [locate(name) if isinstance(name, str) else None for name in files["named"]]
        located = pd.Series(paths, index=files.index, dtype="object")
        outside = files[located.isna() & files["named"].notna()]
        if len(outside):
            first = outside.iloc[0]
            raise DataError(
                f"{self.path}: {first['named']!r}, the image of {_image(first)}, is not below {self._references.root}: "
                "correct it, or name a screen.root that holds all images; if the table knows that folder by another "
                "name or URL, give that as screen.url_prefix"
            )
        return located

    def _check_images(self, files: pd.DataFrame) -> None:
        twice = files[files.duplicated([name for name in IMAGE if name in files], keep=False)]
        if len(twice):
            first = twice.iloc[0]
            raise DataError(
                f"{self.path}: {_image(first)} is there more than once, first as {first['named']}; keep one row, or "
                "let columns (plate, site, z) tell them apart"
            )

    def _check_files(self, files: pd.DataFrame) -> None:
        named = files[files["path"].notna()]
        twice = named[named.duplicated("path", keep=False)].sort_values("path", kind="stable")
        if len(twice):
            first, second = twice.iloc[0], twice.iloc[1]
            raise DataError(
                f"{self.path}: {first['path']} is the image of {_image(first)} and of {_image(second)}; correct one (a "
                "file with all channels has one row, and the table no column channel)"
            )


def _image(row: pd.Series) -> str:
    parts = [f"well {row['well']}", f"site {row['site']}"]
    parts += [f"{name} {row[name]}" for name in ("channel", "z") if name in row and pd.notna(row[name])]
    return ", ".join(parts)


def _paths(rows: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Return paths, from their columns or from those of folders and names."""
    *folders, files = (as_text(rows[name]) for name in names)
    return folders[0].str.rstrip("/\\").str.cat(files, sep="/").where(files.notna()).fillna(files) if folders else files


def _tells_of_image(name: str) -> bool:
    plain = plain_name(name)
    uses = ("row", "column", "site", "z", "path", "channel")
    return plain.startswith(FILE_PREFIXES) or any(plain.replace("_", "") in ALIASES[use] for use in uses)


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
