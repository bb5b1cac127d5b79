"""OME-Zarr: plates of OME-NGFF 0.4 and 0.5, whose metadata ngio reads (https://ngff.openmicroscopy.org)."""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.locations import modification_time_ns
from cellmae.screen.layouts.layout import existing_root
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.listing import listing
from cellmae.screen.patterns import PlateFolders, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

METADATA = ("zarr.json", ".zattrs")  # of OME-NGFF 0.5 and 0.4
SUFFIX = ".zarr"
SITES_OF_AN_IMAGE = 10_000
INNER_PATH = re.compile(r"(?!\.{1,2}(/|$))[^/#\\]+(/(?!\.{1,2}(/|$))[^/#\\]+)*")


class OmeZarrLayout(MappedLayout):
    """Plates that are folders ``*.zarr``, at most two levels below the root.

    An image that is no larger than ``screen.window`` is one field; its site is its position in the well's list, from
    1. A larger one is cut into windows; window j of image i is site 10000 i + j, both from 1, row by row.
    """

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = list(channel_ids(screen))
        self._by_label = bool(screen.get("channel_ids"))
        self._level = int(screen.get("level", 0))
        self._window = int(screen.get("window", 2048))
        self._timepoint = int(screen.get("timepoint", 1))

    def find_plates(self) -> PlateFolders:
        """Return the plates: a folder each."""
        visited: list[Path] = []
        folders = self._folders(visited)
        if not folders:
            raise ConfigError(f"screen.root: no folder *{SUFFIX} at most two levels below {self.root} is a plate")
        return PlateFolders(pd.DataFrame({"plate": sorted(folders)}, dtype="object"), visited)

    def channel_ids(self) -> dict[str, str]:
        """Return nothing: an image holds all channels."""
        return {}

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the fields of a plate; null paths for wells and images that the metadata lists and that are missing."""
        folder = self._folders([]).get(plate.name)
        rows = [] if folder is None else list(self._fields(folder))
        fields = pd.DataFrame(rows, columns=["well", "site", "path", "size", "mtime_ns"])
        return pd.concat([parse_wells(fields["well"]), fields.drop(columns="well").assign(channel=None)], axis=1)

    def _folders(self, visited: list[Path]) -> dict[str, Path]:
        """Find the plates by name."""
        found: dict[str, Path] = {}
        upper = sorted(existing_root(self.root).iterdir())
        below = [path for path in upper if path.is_dir() and not path.name.endswith(SUFFIX)]
        visited += [self.root, *below]
        for path in [*upper, *(path for folder in below for path in sorted(folder.iterdir()))]:
            if not path.name.endswith(SUFFIX) or not _is_plate(path):
                continue
            name = path.name.removesuffix(SUFFIX).removesuffix(".ome")
            if name in found:
                raise DataError(f"{found[name]} and {path} are both the plate {name}: rename one")
            found[name] = path
        return found

    def _fields(self, folder: Path) -> Iterator[tuple[str, int, str | None, int, int]]:
        ngio = _ngio()
        plate = _read(folder, lambda store: ngio.open_ome_zarr_plate(store, mode="r"))
        for well in _read(folder, lambda _: list(plate.wells_paths())):
            name = _inner(folder, well).replace("/", "")
            if not _has_metadata(folder / well):
                yield name, 1, None, 0, 0
                continue
            images = _read(folder / well, lambda store: ngio.open_ome_zarr_well(store, mode="r").paths())
            for number, image in enumerate(images, start=1):
                path = folder / well / _inner(folder / well, image)
                if not _has_metadata(path):
                    yield name, number, None, 0, 0
                    continue
                for site, reference, size, time in self._windows(path, number):
                    yield name, site, reference, size, time

    def _windows(self, path: Path, number: int) -> Iterator[tuple[int, str, int, int]]:
        """Yield site, reference, bytes and time of each window of an image."""
        container = _read(path, lambda store: _ngio().open_ome_zarr_container(store, mode="r"))
        levels = list(container.level_paths)
        if self._level >= len(levels):
            raise ConfigError(f"screen.level: {path} has the levels 0 to {len(levels) - 1}, not {self._level}")
        level = _inner(path, levels[self._level])
        image = _read(path, lambda _: container.get_image(path=level))
        axes = "".join(image.axes)
        sizes = dict(zip(axes, image.shape, strict=True))
        if self._timepoint > sizes.get("t", 1):
            raise ConfigError(f"screen.timepoint: {path} has {sizes.get('t', 1)} time points, not {self._timepoint}")
        numbers = self._channel_numbers(path, list(image.channel_labels), sizes.get("c", 1))
        chosen = f"axes={axes}&t={self._timepoint - 1}&c={','.join(map(str, numbers))}"
        array = path / level
        time = max(modification_time_ns(file.stat()) for file in _files(array, ("zarr.json", ".zarray")))
        windows = [(y, x) for y in _cut(sizes["y"], self._window) for x in _cut(sizes["x"], self._window)]
        if len(windows) >= SITES_OF_AN_IMAGE:
            raise ConfigError(f"screen.window: {path} would be cut into {len(windows)} windows; make them larger")
        whole = max(sizes["y"], sizes["x"]) <= self._window
        for place, (y, x) in enumerate(windows, start=1):
            reference = f"{array.relative_to(self.root).as_posix()}#{chosen}&y={y[0]}:{y[1]}&x={x[0]}:{x[1]}"
            pixels = len(numbers) * (y[1] - y[0]) * (x[1] - x[0])
            size = pixels * sizes.get("z", 1) * np.dtype(image.dtype).itemsize
            yield (number if whole else SITES_OF_AN_IMAGE * number + place), reference, size, time

    def _channel_numbers(self, path: Path, labels: list[str], count: int) -> list[int]:
        """Return the indices of the configured channels, by label, else by number."""
        numbers = []
        for name in self._channels:
            if self._by_label and labels.count(name) == 1:
                numbers.append(labels.index(name))
            elif name.isdecimal() and 1 <= int(name) <= count:
                numbers.append(int(name) - 1)
            else:
                raise DataError(
                    f"{path} has no channel {name!r} (or several); its {count} channels are {listing(labels)}: correct "
                    "screen.channel_ids"
                )
        return numbers


def _cut(length: int, window: int) -> list[tuple[int, int]]:
    """Return the first and the end of windows side by side, centred; a shorter length is one window."""
    if length <= window:
        return [(0, length)]
    first = length % window // 2
    return [(start, start + window) for start in range(first, length - window + 1, window)]


def _is_plate(folder: Path) -> bool:
    for file in _files(folder, METADATA):
        try:
            content = json.loads(file.read_text())
            attributes = content.get("attributes", {}) if file.name == "zarr.json" else content
            if "plate" in attributes.get("ome", attributes):
                return True
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{file} is no metadata of OME-Zarr ({error}): copy the plate anew") from None
    return False


def _files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder / name for name in names if size_and_time(folder / name) is not None]


def _has_metadata(folder: Path) -> bool:
    return bool(_files(folder, METADATA))


def _inner(folder: Path, path: str) -> str:
    """Return a path that metadata name, if it leads downwards."""
    if not INNER_PATH.fullmatch(path):
        raise DataError(f"{folder}: its metadata name the path {path!r}, which does not lead downwards; correct them")
    return path


def _read(folder: Path, read: Any) -> Any:
    """Read metadata; :class:`DataError` that names the folder where ngio cannot."""
    from cellmae.images.omezarr import zarr_store  # zarr is not for every planning of a workflow

    try:
        return read(zarr_store(folder))
    except Exception as error:  # ngio, pydantic, zarr and fsspec each have their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{folder}: its metadata cannot be read ({reason}); complete or remove it") from error


def _ngio() -> Any:
    try:
        return importlib.import_module("ngio")
    except ImportError as error:
        raise ConfigError(f"screen.layout: ome-zarr needs ngio ({error}); pip install 'cellmae[ome-zarr]'") from None
