"""Operetta and Opera Phenix: a folder a measurement, with an index of its images or without.

Harmony writes ``BR1__2024-05-02T16_02_51-Measurement 1/Images/r01c01f01p01-ch1sk1fk1fl1.tiff`` beside ``Index.idx.xml``
(``Index.xml`` in later versions), which knows the names of channels.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import pandas as pd
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.folders import find_folders, one_folder_each
from cellmae.screen.layouts.layout import existing_root
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.listing import listing
from cellmae.screen.patterns import FilePattern, PlateFolders, entries, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

IMAGE_FOLDER = "Images"
INDEXES = ("Index.idx.xml", "Index.xml")
IMAGE_PREFIX, IMAGE_SUFFIXES = "r", (".tif", ".tiff")
IMAGES = "r{{row}}c{{column}}f{{site}}p{{z}}-ch{{channel}}sk{timepoint}fk*fl*.tif*"
MEASUREMENT = "__"  # ends the plate's name in that of its folder
FACTS = {"URL": "url", "Row": "row", "Col": "column", "FieldID": "site", "PlaneID": "z", "TimepointID": "timepoint"}
FACTS |= {"ChannelID": "channel", "ChannelName": "name"}


class PhenixLayout(MappedLayout):
    """Measurements anywhere up to four levels below the root; the plate is named before ``__``."""

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = channel_ids(screen)
        self._timepoint = int(screen.get("timepoint", 1))

    def find_plates(self) -> PlateFolders:
        """Return the plates, a measurement each."""
        folders, visited = self._measurements
        return PlateFolders(pd.DataFrame({"plate": sorted(folders)}, dtype="object"), visited)

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those that the index names and that are gone have no path."""
        folder = self._measurements[0].get(plate.name)
        if folder is None:
            raise DataError(f"the measurement of the plate {plate.name} is not below {self.root} (any more)")
        index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
        if index is not None:
            return self._indexed(folder, index)
        pattern = IMAGES.format(timepoint=self._timepoint)
        files = FilePattern(pattern, list(self._channels), key="screen.root").images(folder, {})
        return files.assign(path=self._prefix(folder) + files["path"])

    def channel_ids(self) -> dict[str, str]:
        """Map the numbers of channels, or their names in the index, to their names on the map."""
        return self._channels

    @cached_property
    def _measurements(self) -> tuple[dict[str, Path], list[Path]]:
        """Folders with images by the names of their plates, and where they were looked for."""
        visited: list[Path] = []
        found = list(find_folders(existing_root(self.root), _holds_images, visited))
        named = ((_plate_of(folder), folder) for folder in found)
        kind = f"{INDEXES[0]} or images such as r01c01f01p01-ch1sk1fk1fl1.tiff"
        return one_folder_each(named, root=self.root, kind=kind), visited

    def _prefix(self, folder: Path) -> str:
        inner = folder.relative_to(self.root).as_posix()
        return "" if inner == "." else f"{inner}/"

    def _indexed(self, folder: Path, index: Path) -> pd.DataFrame:
        images = read_index(index)
        known = images["channel"].where(images["channel"].isin(self._channels), images["name"])
        wanted = known.isin(self._channels)
        if not wanted.any():
            there = images[["channel", "name"]].drop_duplicates().itertuples(index=False)
            raise DataError(
                f"{index} has the channels {listing(f'{number} ({name})' for number, name in there)}; "
                f"screen.channel_ids expects {listing(self._channels)}: correct the one that is wrong"
            )
        at_time = images["timepoint"] == self._timepoint
        if not at_time.any():
            raise ConfigError(f"screen.timepoint: {index} has no time point {self._timepoint}")
        unnamed = {name for name in entries(folder) if _is_image(name)} - set(images["url"])
        if unnamed:
            logger.warning("%s does not name %d images beside it, which are left out", index, len(unnamed))
        images = images.assign(channel=known)[wanted & at_time].reset_index(drop=True)
        facts = [size_and_time(folder / name) for name in images["url"]]
        paths = [self._prefix(folder) + name if fact else None for name, fact in zip(images["url"], facts, strict=True)]
        wells = parse_wells("r" + images["row"].astype(str) + "c" + images["column"].astype(str))
        rows = [(path, *(fact or (0, 0))) for path, fact in zip(paths, facts, strict=True)]
        files = pd.DataFrame(rows, columns=["path", "size", "mtime_ns"])
        return pd.concat([wells, images[["site", "channel", "z"]], files], axis=1)


def read_index(path: Path) -> pd.DataFrame:
    """Read the index of a measurement, of any size, as Harmony 4 and 5 write it.

    Returns
    -------
    pandas.DataFrame
        A row an image: ``url`` (its file), ``row``, ``column``, ``site``, ``z``, ``timepoint`` (all from 1),
        ``channel`` (its number) and ``name`` (of the channel; empty where the index has none), both as text.

    Raises
    ------
    DataError
        It is damaged, names no image, or files elsewhere.
    """
    rows, names = [], {}
    try:
        with path.open("rb") as file:
            for _, element in iterparse(file, forbid_dtd=True):
                tag = element.tag.rpartition("}")[2]
                if tag == "Image" and (facts := _facts(element)).get("url"):
                    rows.append(facts)
                elif tag == "Entry" and element.get("ChannelID"):  # of a map of channels, in Harmony 5
                    names[element.get("ChannelID")] = _facts(element).get("name", "")
                if tag in ("Image", "Entry"):
                    element.clear()
    except (ParseError, DefusedXmlException, OSError) as error:
        raise DataError(f"{path} cannot be read as an index ({error}): copy the measurement anew") from None
    images = pd.DataFrame(rows, columns=list(FACTS.values()))
    outside = images["url"].str.contains(r"[/\\]|^\.\.?$", regex=True)
    if images.empty or images.drop(columns=["name", "timepoint"]).isna().any(axis=None) or outside.any():
        raise DataError(f"{path} names no images beside it, or lacks well, field, plane or channel of some")
    try:
        whole = images[["row", "column", "site", "z"]].astype("int64")
    except ValueError as error:
        raise DataError(f"{path} holds numbers that are none ({error})") from None
    timepoint = images["timepoint"].fillna("0").astype("int64") + 1
    return images.assign(
        name=images["name"].fillna(images["channel"].map(names)).fillna(""), timepoint=timepoint, **whole
    )


def _facts(element: Any) -> dict[str, str]:
    found = ((child.tag.rpartition("}")[2], child.text) for child in element)
    return {FACTS[tag]: text.strip() for tag, text in found if tag in FACTS and text}


def _is_image(name: str) -> bool:
    return name.startswith(IMAGE_PREFIX) and "-ch" in name and name.lower().endswith(IMAGE_SUFFIXES)


def _holds_images(names: list[str]) -> bool:
    return any(name in INDEXES or _is_image(name) for name in names)


def _plate_of(folder: Path) -> str:
    measurement = folder.parent if folder.name == IMAGE_FOLDER else folder
    return measurement.resolve().name.split(MEASUREMENT)[0]
