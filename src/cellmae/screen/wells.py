"""Names of wells: any spelling in, ``A01`` (or ``AA01``, below row Z) out."""

import re

import pandas as pd

from cellmae.errors import DataError
from cellmae.screen.listing import listing

ROWS, COLUMNS = 48, 72  # of the largest plates in use, with 3,456 wells

LETTER_ROW = re.compile(r"([A-Z]{1,2})\s*[_.:-]?\s*0*([1-9][0-9]?)", re.IGNORECASE)  # A1, a01, B - 02, AA01
NUMBER_ROW = re.compile(r"R0*([1-9][0-9]?)\s*[_.:-]?\s*C0*([1-9][0-9]?)", re.IGNORECASE)  # r01c02


def well_name(row: int, column: int) -> str:
    """Return the name of a well, such as ``A01`` or ``AA01``, from its row and column (both from 1)."""
    letters = chr(ord("A") + (row - 1) % 26)
    return f"{'A' if row > 26 else ''}{letters}{column:02d}"


def parse_well(name: str) -> tuple[int, int] | None:
    """Return row and column (both from 1) of a well in any spelling; None where the text names no well."""
    name = name.strip()
    if match := LETTER_ROW.fullmatch(name):
        letters, column = match.group(1).upper(), int(match.group(2))
        row = 0
        for letter in letters:
            row = 26 * row + ord(letter) - ord("A") + 1
    elif match := NUMBER_ROW.fullmatch(name):
        row, column = int(match.group(1)), int(match.group(2))
    else:
        return None
    return (row, column) if row <= ROWS and column <= COLUMNS else None


def parse_wells(names: pd.Series) -> pd.DataFrame:
    """Bring well names into one form.

    Parameters
    ----------
    names
        Names in any spelling: ``a1``, ``A1``, ``A01``, ``A-1``, ``AA01``, ``r01c01``.

    Returns
    -------
    pandas.DataFrame
        With the index of ``names``: ``well`` (``A01`` form), ``row`` and ``column`` (both from 1).

    Raises
    ------
    DataError
        If a name is missing or is not that of a well.
    """
    codes, spellings = pd.factorize(names)
    if (codes < 0).any():
        raise DataError(f"{(codes < 0).sum()} rows name no well: fill in the well, or remove the rows")
    positions = [parse_well(str(spelling)) for spelling in spellings]
    strange = [repr(str(spelling)) for spelling, position in zip(spellings, positions, strict=True) if position is None]
    if strange:
        raise DataError(
            f"these are no names of wells: {listing(strange)}; expected are names such as A1, A01 or r01c01"
        )
    known = [(well_name(*position), *position) for position in positions if position is not None]
    table = pd.DataFrame(known, columns=["well", "row", "column"]).astype({"row": "int64", "column": "int64"})
    return table.take(codes).set_axis(names.index)
