"""The description of a plate that MetaXpress writes beside its images: ``PLATE.HTD``."""

import csv
from dataclasses import dataclass
from pathlib import Path

from cellmae.errors import DataError
from cellmae.screen.wells import COLUMNS, ROWS, well_name

FIRST_KEY = "HTSInfoFile"
MAX_BYTES = 2**20  # a description has some kB
MAX_SITES = 10_000


@dataclass(frozen=True)
class PlateDescription:
    """What MetaXpress was to acquire.

    Attributes
    ----------
    path
        The file.
    wavelengths
        Their names by their numbers; empty where they have none.
    collected
        The numbers of those that were to be acquired.
    wells
        The wells, such as ``A01``.
    sites
        Number of sites of a well; they are numbered from 1.
    """

    path: Path
    wavelengths: dict[str, str]
    collected: list[str]
    wells: list[str]
    sites: int


def read_description(path: Path) -> PlateDescription:
    """Read a description, in UTF-8 or, where it is none, in Latin-1.

    Raises
    ------
    DataError
        It is none, or says nothing sensible of wells, sites or wavelengths.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
        values = {line[0].strip(): [value.strip() for value in line[1:]] for line in lines if line}
        if len(data) > MAX_BYTES or next(iter(values), None) != FIRST_KEY:
            raise DataError(f"it does not begin with {FIRST_KEY!r}, or is longer than {MAX_BYTES} bytes")
        return _description(path, values)
    except (DataError, csv.Error, KeyError, IndexError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{path} describes no plate ({reason}): copy it anew, or remove it") from None


def _description(path: Path, values: dict[str, list[str]]) -> PlateDescription:
    wells = _selected(values, "WellsSelection", int(values["YWells"][0]), ROWS)
    if any(column > COLUMNS for _, column in wells):
        raise DataError(f"wells beyond column {COLUMNS}")
    sites = 1
    if _is_true(values["Sites"][0]):
        sites = len(_selected(values, "SiteSelection", int(values["YSites"][0]), MAX_SITES))
    count = int(values["NWavelengths"][0]) if _is_true(values["Waves"][0]) else 1
    numbers = [str(number) for number in range(1, min(count, len(values)) + 1)]
    names = {number: values.get(f"WaveName{number}", [""])[0] for number in numbers}
    collected = [number for number in numbers if values.get(f"WaveCollect{number}", ["1"])[0] != "0"]
    if not (wells and sites and collected):
        raise DataError("no well, site or wavelength is selected")
    return PlateDescription(path, names, collected, [well_name(*place) for place in wells], sites)


def _selected(values: dict[str, list[str]], key: str, rows: int, most: int) -> list[tuple[int, int]]:
    """Return row and column (both from 1) of what is true in the lines ``key1``, ``key2``, ..."""
    if not 1 <= rows <= most:
        raise DataError(f"{rows} rows of {key}")
    return [
        (row, column)
        for row in range(1, rows + 1)
        for column, value in enumerate(values[f"{key}{row}"], start=1)
        if _is_true(value)
    ]


def _is_true(value: str) -> bool:
    return value.upper() == "TRUE"
