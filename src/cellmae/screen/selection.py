"""Which plates, wells and sites of a screen are used; the files stay as they are."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd

from cellmae.errors import ConfigError
from cellmae.screen.listing import listing
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_well

POSITION = ["row", "column"]


class Excluded(NamedTuple):
    """What is left out of a plate.

    Attributes
    ----------
    wells
        Row and column (both from 1).
    sites
        Row, column and site; row and column are None where the site is left out of all wells.
    """

    wells: set[tuple[int, int]]
    sites: set[tuple[int, int, int] | tuple[None, None, int]]

    def wells_of(self, table: pd.DataFrame) -> pd.Series:
        """Mark the rows (``row``, ``column``) whose well is left out."""
        return _among(table, POSITION, self.wells)

    def sites_of(self, table: pd.DataFrame) -> pd.Series:
        """Mark the rows (``row``, ``column``, ``site``) whose well or site is left out."""
        everywhere = {site for row, _, site in self.sites if row is None}
        return (
            self.wells_of(table)
            | table["site"].isin(everywhere)
            | _among(table, [*POSITION, "site"], {site for site in self.sites if site[0] is not None})
        )


def taken(plates: Mapping[str, Plate], screen: Mapping[str, Any]) -> dict[str, Plate]:
    """Return the plates that are used: those of ``screen.plates``, or all, less ``screen.exclude.plates``.

    Raises
    ------
    ConfigError
        A name is that of no plate or of several, or no plate is left.
    """
    wanted = _slugs(plates, screen.get("plates") or plates, "screen.plates")
    without = _slugs(plates, (screen.get("exclude") or {}).get("plates", ()), "screen.exclude.plates")
    left = {slug: plate for slug, plate in plates.items() if slug in wanted and slug not in without}
    if not left:
        raise ConfigError(f"screen.exclude.plates: no plate is left of {listing(wanted)}")
    return left


def excluded(slug: str, screen: Mapping[str, Any]) -> Excluded:
    """Return what ``screen.exclude`` leaves out of a plate.

    Wells are written ``A01``, or ``PLATE/A01`` where only that plate's is meant; sites ``3``, ``A01/3`` or
    ``PLATE/A01/3``; PLATE is a name in the results.

    Raises
    ------
    ConfigError
        An entry is not of this form.
    """
    exclude = screen.get("exclude") or {}
    wells: set[tuple[int, int]] = set()
    for entry in exclude.get("wells", ()):
        *plate, well = str(entry).split("/")
        position = parse_well(well)
        if position is None or len(plate) > 1:
            raise ConfigError(f"screen.exclude.wells: found {entry!r}, expected a well, such as A01 or PLATE/A01")
        if plate in ([], [slug]):
            wells.add(position)
    sites: set[tuple[int, int, int] | tuple[None, None, int]] = set()
    for entry in exclude.get("sites", ()):
        *place, site = str(entry).split("/")
        position = parse_well(place[-1]) if place else None
        if not site.isdecimal() or len(place) > 2 or (place and position is None):
            raise ConfigError(f"screen.exclude.sites: found {entry!r}, expected such as 3, A01/3 or PLATE/A01/3")
        if place[:-1] in ([], [slug]):
            sites.add((None, None, int(site)) if position is None else (*position, int(site)))
    return Excluded(wells, sites)


def _among(table: pd.DataFrame, columns: list[str], listed: Collection[tuple[Any, ...]]) -> pd.Series:
    rows = pd.MultiIndex.from_frame(table[columns])
    return pd.Series(rows.isin(list(listed)) if listed else False, index=table.index, dtype=bool)


def _slugs(plates: Mapping[str, Plate], names: Collection[str], key: str) -> set[str]:
    """Return the plates that are meant by their names in the results, or by their own where these are unique."""
    found = set()
    for name in names:
        same = [name] if name in plates else [slug for slug, plate in plates.items() if plate.name == name]
        if len(same) != 1:
            reason = f"several plates have it: {listing(same)}" if same else f"the plates are {listing(plates)}"
            raise ConfigError(f"{key}: found {name!r}, expected the name of a plate in the results; {reason}")
        found.add(same[0])
    return found
