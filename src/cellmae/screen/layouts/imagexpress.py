"""ImageXpress: plates as MetaXpress writes them, ``P1/TimePoint_1/ZStep_2/P1_A01_s1_w1{UUID}.TIF``.

Each of the folders below the plate's, the site, the wavelength and the UUID may be absent; ``.HTD`` beside them says
what was imaged.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import DataError
from cellmae.screen.folders import find_folders, one_folder_each
from cellmae.screen.layouts.layout import existing_root
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.listing import listing
from cellmae.screen.patterns import PlateFolders, entries, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_well, parse_wells, well_name

IMAGE = re.compile(
    r"(?:.*?_)??(?P<well>[A-Z]{1,2}[0-9]{1,2})(?:_s(?P<site>[0-9]+))?(?:_w(?P<channel>[0-9]+))?"
    r"(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?\.tiff?",
    re.IGNORECASE,
)
TIME_FOLDER, Z_FOLDER = re.compile(r"TimePoint_([0-9]+)"), re.compile(r"ZStep_([0-9]+)")
SETTINGS = ".htd"
PROJECTION = 0  # ZStep_0 holds what the microscope projected itself
KEYS = ["well", "site", "channel"]
COLUMNS = [*KEYS, "z", "path", "size", "mtime_ns"]


class ImageXpressLayout(MappedLayout):
    """Plates anywhere up to four levels below the root, called as their folders.

    Of a z stack that is projected, the microscope's own projection is taken where there is one.
    """

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = channel_ids(screen)
        self._timepoint = int(screen.get("timepoint", 1))
        self._z = screen.get("z", "max")

    def find_plates(self) -> PlateFolders:
        """Return the plates, a folder each."""
        folders, visited = self._folders
        return PlateFolders(pd.DataFrame({"plate": sorted(folders)}, dtype="object"), visited)

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those that the microscope was set to take and that are missing have no path."""
        folder = self._folders[0].get(plate.name)
        if folder is None:
            raise DataError(f"the folder of the plate {plate.name} is not below {self.root} (any more)")
        files = pd.DataFrame(list(self._files(folder)), columns=COLUMNS)
        settings = read_settings(folder)
        if settings is not None:
            files = pd.concat([files, _missing(files, settings)], ignore_index=True)
        names = {} if settings is None else settings.wavelengths
        known = files["channel"].where(files["channel"].isin(self._channels), files["channel"].map(names))
        wanted = known.isin(self._channels)
        if len(files) and not wanted.any():
            there = [f"{number} ({names[number]})" if number in names else number for number in set(files["channel"])]
            raise DataError(
                f"the images of the plate {plate.name} have the channels {listing(sorted(there))}; screen.channel_ids "
                f"expects {listing(self._channels)}: correct the one that is wrong"
            )
        files = self._without_projections(files.assign(channel=known)[wanted]).reset_index(drop=True)
        return pd.concat([parse_wells(files["well"]), files.drop(columns="well")], axis=1)

    def channel_ids(self) -> dict[str, str]:
        """Map the numbers of wavelengths, or their names in the settings, to the names of channels."""
        return self._channels

    @cached_property
    def _folders(self) -> tuple[dict[str, Path], list[Path]]:
        """Folders by the names of their plates, and where they were looked for."""
        visited: list[Path] = []
        found = find_folders(existing_root(self.root), _holds_plate, visited)
        named = ((folder.resolve().name, folder) for folder in found)
        return one_folder_each(named, root=self.root, kind="images such as P1_A01_s1_w1.TIF"), visited

    def _files(self, folder: Path) -> Iterator[tuple[Any, ...]]:
        for where, z in self._image_folders(folder):
            prefix = where.relative_to(self.root).as_posix()
            for name in sorted(entries(where)):
                match = IMAGE.fullmatch(name)
                position = parse_well(match["well"]) if match else None
                facts = size_and_time(where / name) if position else None
                if match and position and facts:
                    path = name if prefix == "." else f"{prefix}/{name}"
                    yield well_name(*position), int(match["site"] or 1), match["channel"] or "1", z, path, *facts

    def _image_folders(self, folder: Path) -> Iterator[tuple[Path, int]]:
        """Yield the folders with images of the time point, and their z step; 1 where there is none."""
        times = {int(match[1]): name for name in entries(folder) if (match := TIME_FOLDER.fullmatch(name))}
        if times and self._timepoint not in times:
            raise DataError(f"screen.timepoint: {folder} has the time points {listing(sorted(times))}")
        at_time = folder / times[self._timepoint] if times else folder
        yield at_time, 1
        for name in sorted(entries(at_time)):
            if match := Z_FOLDER.fullmatch(name):
                yield at_time / name, int(match[1])

    def _without_projections(self, files: pd.DataFrame) -> pd.DataFrame:
        """Take the microscope's projection or the planes, never both; the former where there is nothing else."""
        projected = files["z"] == PROJECTION
        images = pd.MultiIndex.from_frame(files[KEYS])
        if self._z == "max":
            return files[projected | ~images.isin(images[projected])]
        files = files[~projected | ~images.isin(images[~projected])]
        return files.assign(z=files["z"].mask(files["z"] == PROJECTION, self._z))


@dataclass(frozen=True)
class Settings:
    """What a microscope was set to image.

    Attributes
    ----------
    wells
        Their names.
    sites
        Fields of each.
    wavelengths
        Names of the channels by their number, as text.
    """

    wells: list[str]
    sites: int
    wavelengths: dict[str, str]


def read_settings(folder: Path) -> Settings | None:
    """Read the ``.HTD`` file of a plate; None where there is none, :class:`DataError` where it makes no sense."""
    files = sorted(name for name in entries(folder) if name.lower().endswith(SETTINGS))
    if not files:
        return None
    path = folder / files[0]
    lines = path.read_bytes().decode("latin-1").splitlines()
    rows = (next(csv.reader([line], skipinitialspace=True), []) for line in lines)
    said = {row[0]: [value.strip() for value in row[1:]] for row in rows if row}
    try:
        rows_of_wells = range(1, int(said["YWells"][0]) + 1)
        wells = [
            well_name(row, column)
            for row in rows_of_wells
            for column, chosen in enumerate(said[f"WellsSelection{row}"], start=1)
            if chosen == "TRUE"
        ]
        chosen = [site for row in range(1, int(said["YSites"][0]) + 1) for site in said[f"SiteSelection{row}"]]
        sites = chosen.count("TRUE") if said.get("Sites") == ["TRUE"] else 1
        count = int(said["NWavelengths"][0]) if said.get("Waves") == ["TRUE"] else 1
        names = {str(n): said.get(f"WaveName{n}", [""])[0] for n in range(1, count + 1)}
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{path} lacks settings or has strange ones ({error!r}): correct or remove it") from None
    return Settings(wells, sites, names)


def _missing(files: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return a row for every image that should be there and is not."""
    expected = product(settings.wells, range(1, settings.sites + 1), settings.wavelengths)
    there = set(files[KEYS].itertuples(index=False, name=None))
    rows = [(*image, 1, None, 0, 0) for image in expected if image not in there]
    return pd.DataFrame(rows, columns=COLUMNS).astype(files.dtypes.to_dict() if len(files) else {})


def _holds_plate(names: list[str]) -> bool:
    return any(
        name.lower().endswith(SETTINGS) or TIME_FOLDER.fullmatch(name) or Z_FOLDER.fullmatch(name) or
        IMAGE.fullmatch(name)
        for name in names
    )  # fmt: skip
