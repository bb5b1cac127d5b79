"""Plates as MetaXpress, the software of the ImageXpress, exports them."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.screen.folders import find_folders, one_folder_a_plate
from cellmae.screen.htd import PlateDescription, read_description
from cellmae.screen.layouts.layout import existing_root
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids, channel_numbers
from cellmae.screen.listing import listing
from cellmae.screen.patterns import PlateFolders, entries, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

TIME_POINT, Z_STEP = re.compile(r"TimePoint_([0-9]+)"), re.compile(r"ZStep_([0-9]+)")
IMAGE = re.compile(
    r"(?!\.)(?:.*?_)?(?P<well>[A-Z]{1,2}[0-9]{2})(?:_s(?P<site>[0-9]+))?(?:_w(?P<channel>[0-9]+))?(?P<thumb>_thumb)?"
    r"(?:_?\[?[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\]?)?\.tiff?",
    re.IGNORECASE,
)
DESCRIPTION = ".htd"
LEVELS = 3
PROJECTION = 0  # number of the z step that holds what the microscope projected
IMAGE_KEYS = ["well", "site", "channel"]
COLUMNS = [*IMAGE_KEYS, "z", "path", "size", "mtime_ns"]


class ImageXpressLayout(MappedLayout):
    """Images by their names, below folders of time points and z steps where there are some; annotations by plate map.

    A plate is a folder at most three levels below the root. Images that its description (``.HTD``) expects and that are
    not there have no path. Where z is projected, what the microscope projected is taken instead of the planes:
    images in ``ZStep_0``, or beside the folders of z steps.
    """

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = channel_ids(screen)
        self._timepoint = int(screen.get("timepoint", 1))
        self._projects = screen.get("z", "max") == "max"
        self._visited: list[Path] = []

    def find_plates(self) -> PlateFolders:
        """Return the plates: a folder each."""
        if not self._folders:
            raise ConfigError(
                f"screen.root: no folder at most three levels below {self.root} holds TimePoint_1, ZStep_1 or images "
                "such as PLATE_A01_s1_w1.TIF"
            )
        return PlateFolders(pd.DataFrame({"plate": sorted(self._folders)}, dtype="object"), self._visited)

    def channel_ids(self) -> dict[str, str]:
        """Map the number of a wavelength, or what the description calls it, to the channel's name."""
        return self._channels

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those that its description expects and that are not there have no path."""
        if plate.name not in self._folders:
            raise DataError(f"there is no folder of the plate {plate.slug} below {self.root} (any more)")
        folder = self._folders[plate.name]
        description = _description(folder)
        files = pd.DataFrame(self._files(folder), columns=COLUMNS)
        names = description.wavelengths if description else dict.fromkeys(sorted(set(files["channel"])), "")
        numbers = channel_numbers(self._channels, names, description.path if description else folder)
        files = files.assign(channel=files["channel"].map(numbers)).dropna(subset="channel")
        if files.empty:
            raise DataError(f"{folder} holds no image of the channels {listing(self._channels)}: put them there")
        chosen = self._chosen(files)
        if description:
            stacks = {str(channel): set(planes) for channel, planes in files.groupby("channel")["z"]}
            collected = [numbers[number] for number in description.collected if number in numbers]
            planes = {channel: stacks.get(channel, {1}) for channel in collected}
            chosen = pd.concat([chosen, _missing(chosen, description, planes)])
        chosen = chosen.reset_index(drop=True)
        return pd.concat([parse_wells(chosen["well"]), chosen.drop(columns="well")], axis=1)

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """The folders of plates by their names."""
        found = find_folders(existing_root(self.root), LEVELS, _is_plate, self._visited)
        whole = self.root.resolve()
        return one_folder_a_plate({folder: (whole / folder.relative_to(self.root)).name for folder in found}, self.root)

    def _files(self, folder: Path) -> Iterator[tuple[str, int, str, int, str, int, int]]:
        """Yield the images of the time point: what their names and folders tell, path, bytes and time."""
        times = _numbered(folder, TIME_POINT) or {1: folder}
        if self._timepoint not in times:
            raise ConfigError(f"screen.timepoint: {folder} has the time points {listing(sorted(times))}")
        steps = _numbered(times[self._timepoint], Z_STEP)
        beside = {PROJECTION if steps else 1: times[self._timepoint]}
        for z, part in [*beside.items(), *steps.items()]:
            for name in sorted(entries(part)):
                match = IMAGE.fullmatch(name)
                if match is None or match["thumb"] or (facts := size_and_time(part / name)) is None:
                    continue
                site, channel = int(match["site"] or 1), str(int(match["channel"] or 1))
                yield match["well"].upper(), site, channel, z, (part / name).relative_to(self.root).as_posix(), *facts

    def _chosen(self, files: pd.DataFrame) -> pd.DataFrame:
        """Return what the microscope projected, or else the planes."""
        projected = files["z"] == PROJECTION
        if self._projects:
            return files[projected | ~projected.groupby([files[key] for key in IMAGE_KEYS]).transform("any")]
        if projected.all():
            raise ConfigError("screen.z: there are only projections, without the planes; say max")
        return files[~projected]


def _is_plate(folder: Path) -> bool:
    return any(
        IMAGE.fullmatch(name) or ((TIME_POINT.fullmatch(name) or Z_STEP.fullmatch(name)) and (folder / name).is_dir())
        for name in entries(folder)
    )


def _numbered(folder: Path, expression: re.Pattern[str]) -> dict[int, Path]:
    """Return the folders within one whose names match, by their numbers."""
    matches = (expression.fullmatch(name) for name in sorted(entries(folder)))
    return {int(match[1]): folder / match[0] for match in matches if match and (folder / match[0]).is_dir()}


def _description(folder: Path) -> PlateDescription | None:
    """Read the description of a plate, beside its images or its time points."""
    for place in (folder, *_numbered(folder, TIME_POINT).values()):
        found = [place / name for name in sorted(entries(place)) if name.lower().endswith(DESCRIPTION)]
        if len(found) > 1:
            raise DataError(f"{folder} holds several descriptions of a plate: {listing(found)}; keep one")
        if found:
            return read_description(found[0])
    return None


def _missing(files: pd.DataFrame, description: PlateDescription, planes: Mapping[str, set[int]]) -> pd.DataFrame:
    """Return a row without a path for each image that was to be acquired and is not there.

    ``planes`` are those of a channel: each may have a stack of its own.
    """
    there = {key: set(found) for key, found in files.groupby(IMAGE_KEYS)["z"]}
    rows = []
    for well, site, channel in product(description.wells, range(1, description.sites + 1), planes):
        found = there.get((well, site, channel), set())
        if PROJECTION not in found:
            expected = planes[channel] - {PROJECTION} or planes[channel]
            rows += [(well, site, channel, z, None, 0, 0) for z in sorted(expected - found)]
    return pd.DataFrame(rows, columns=COLUMNS)
