"""Measurements as an Operetta or Opera Phenix exports them: TIFFs, and perhaps an index, in a folder ``Images``."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.folders import find_folders, one_folder_a_plate
from cellmae.screen.harmony import HarmonyIndex, read_index
from cellmae.screen.layouts.layout import existing_root
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids, channel_numbers
from cellmae.screen.listing import listing
from cellmae.screen.patterns import FilePattern, PlateFolders, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.references import ABSOLUTE, References
from cellmae.screen.wells import parse_wells

INDEX = ("Index.idx.xml", "Index.xml")  # the first that is there is read
IMAGES = "r{row}c{column}f{site}p{z}-ch{channel}sk%sfk*fl*.tif*"
FOLDER = "Images"
LEVELS = 4  # three, and the folder Images
MEASUREMENT = "__"  # ends the plate's name in that of its folder: P1__2024-05-02T16_02_51-Measurement 1


class PhenixLayout(MappedLayout):
    """Images by the index or, where there is none, by their names; annotations by plate map.

    A measurement is a folder, at most three levels below the root, that holds the images, or the folder ``Images``
    with them. It is called as its plate, perhaps with ``__`` and more behind.
    """

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = channel_ids(screen)
        self._timepoint = int(screen.get("timepoint", 1))
        self._any_image = FilePattern(IMAGES % "*", key="screen.root")
        self._images = FilePattern(IMAGES % self._timepoint, list(self._channels), key="screen.root")
        self._visited: list[Path] = []

    def find_plates(self) -> PlateFolders:
        """Return the plates: a measurement each."""
        if not self._folders:
            raise ConfigError(
                f"screen.root: no folder at most three levels below {self.root} holds {' or '.join(INDEX)}, or images "
                "such as r01c01f01p01-ch1sk1fk1fl1.tiff"
            )
        return PlateFolders(pd.DataFrame({"plate": sorted(self._folders)}, dtype="object"), self._visited)

    def channel_ids(self) -> dict[str, str]:
        """Map the number of a channel, or what the index calls it, to its name."""
        return self._channels

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those that the index names and that are not there have no path."""
        if plate.name not in self._folders:
            raise DataError(f"there is no measurement of the plate {plate.slug} below {self.root} (any more)")
        folder = self._folders[plate.name]
        path = _index_of(folder)
        if path is None:
            images = self._images.images(folder, {"plate": plate.name})
            if images.empty:
                raise ConfigError(f"screen.timepoint: {folder} holds no image of the time point {self._timepoint}")
        else:
            images = self._indexed(folder, path, read_index(path))
        within = folder.relative_to(self.root)
        images["path"] = [None if name is None else (within / name).as_posix() for name in images["path"]]
        return images

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """The folders that hold images, by plate."""
        found = find_folders(existing_root(self.root), LEVELS, self._holds_images, self._visited)
        return one_folder_a_plate({folder: self._plate_of(folder) for folder in found}, self.root)

    def _holds_images(self, folder: Path) -> bool:
        return _index_of(folder) is not None or any(self._any_image.find(folder))

    def _plate_of(self, folder: Path) -> str:
        whole = self.root.resolve() / folder.relative_to(self.root)
        measurement = whole.parent if whole.name == FOLDER else whole
        return measurement.name.split(MEASUREMENT)[0]

    def _indexed(self, folder: Path, path: Path, index: HarmonyIndex) -> pd.DataFrame:
        """List the images that an index names; paths are relative to the folder."""
        references = References(folder)
        paths = {name: _located(name, path, references) for name in index.images["file"].dropna()}
        self._warn_of_others(folder, path, set(paths.values()))
        numbers = channel_numbers(self._channels, index.channels, path)
        times = sorted(index.images["timepoint"].unique())  # from 0 in Harmony 5, from 1 in others
        if self._timepoint > len(times):
            raise ConfigError(f"screen.timepoint: {path} has {len(times)} time points, not {self._timepoint}")
        images = index.images.assign(channel=index.images["channel"].astype(str).map(numbers))
        images = images[images["channel"].notna() & (images["timepoint"] == times[self._timepoint - 1])]
        located = [paths.get(name) for name in images["file"]]
        facts = [None if name is None else references.size_and_time(name) for name in located]
        if not any(facts):
            raise DataError(
                f"{path}: none of the {len(facts)} images is there, the first is {images['file'].iloc[0]}: put them "
                "beside it, or leave the plate out by screen.exclude.plates"
            )
        wells = parse_wells("r" + images["row"].astype(str) + "c" + images["column"].astype(str))
        files = pd.concat([wells, images[["site", "channel", "z"]]], axis=1)
        files["path"] = [name if fact else None for name, fact in zip(located, facts, strict=True)]
        files["size"], files["mtime_ns"] = ([(fact or (0, 0))[part] for fact in facts] for part in (0, 1))
        return files.reset_index(drop=True)

    def _warn_of_others(self, folder: Path, path: Path, named: set[str]) -> None:
        others = [found.name for _, found in self._any_image.find(folder) if found.name not in named]
        if others:
            logger.warning("%s does not name %d images that are beside it: %s", path, len(others), listing(others, 3))


def _index_of(folder: Path) -> Path | None:
    return next((folder / name for name in INDEX if size_and_time(folder / name) is not None), None)


def _located(name: str, index: Path, references: References) -> str:
    path = None if ABSOLUTE.match(name.replace("\\", "/")) else references.relative(name)
    if path is None:
        raise DataError(f"{index}: {name!r} is no file beside it: correct the index, or remove it")
    return path
