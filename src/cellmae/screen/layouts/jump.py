"""The Cell Painting Gallery, of JUMP and others (https://broadinstitute.github.io/cellpainting-gallery).

The root is the folder of a source, which holds ``images`` and ``workspace``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.listing import listing
from cellmae.screen.patterns import PLATE_KEYS, FilePattern, PlateFolders
from cellmae.screen.plate import Plate
from cellmae.screen.references import References
from cellmae.screen.sheets import ImageSheet

LOAD_DATA = "workspace/load_data_csv/{batch}/{plate}/load_data*"
LOAD_DATA_NAMES = [
    f"load_data{illumination}.{form}"
    for illumination in ("", "_with_illum")
    for form in ("csv", "csv.gz", "parquet")  # the first that is there is read
]
FOLDERS = "images/{batch}/images/{plate}"
IMAGES = FOLDERS + "/Images/r{row}c{column}f{site}p{z}-ch{channel}sk*fk*fl*.tif*"
MEASUREMENT = "__"  # ends the plate's name in that of its folder: BR00117035__2021-05-02T16_02_51-Measurement1


class JumpLayout(MappedLayout):
    """Images as the tables ``load_data.csv`` name them or, where there are none, as a Phenix writes them.

    Names in the tables that lead below the root, or that begin with ``screen.url_prefix``, are taken as they are.
    Any other, such as a path on the machine that made the table, stands for the file of that name in the plate's
    folder: ``images/{batch}/images/{plate}``, where the folder's name may go on after the plate's with ``__``,
    or ``Images`` in it.
    """

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._screen = screen
        self._references = References(self.root, screen.get("url_prefix"))
        self._load_data = FilePattern(screen.get("load_data") or LOAD_DATA, key="screen.load_data", needs_well=False)
        self._folders = FilePattern(FOLDERS, key="screen.root", needs_well=False)
        self._images = FilePattern(IMAGES, list(channel_ids(screen)), key="screen.root")

    def find_plates(self) -> PlateFolders:
        """Return the plates that have a table or, where there are no tables, images."""
        visited: list[Path] = []
        sheets = self._sheets({}, visited)
        if not self._has_tables:
            found = self._images.plates(self.root)
            plates = found.plates.assign(plate=found.plates["plate"].map(_plate_of))
            twice = plates.loc[plates.duplicated(), "plate"]
            if len(twice):
                raise self._several_measurements(twice)
            return PlateFolders(plates, [*visited, *found.visited])
        known = [key for key in PLATE_KEYS if all(key in dict(plate) for plate in sheets)]
        plates = pd.DataFrame([dict(plate) for plate in sheets], columns=known)
        plates["images_digest"] = self._digests(sheets)
        return PlateFolders(plates, [*visited, *(sheet.path for sheet in sheets.values())])

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those without a file have no path."""
        own = {"batch": plate.experiment, "plate": plate.name}
        folders = cache(lambda: self._folders_of(own))
        if not self._has_tables:
            names = [folder.name for folder in folders()] or [plate.name]
            return self._images.images(self.root, own | {"plate": names[0]})
        for named, sheet in self._sheets(own, []).items():
            if all(own[key] == name for key, name in named):
                return sheet.images(own, lambda name: self._locate(name, folders))
        raise DataError(f"there is no table load_data of the plate {plate.slug} (any more): put it there")

    def channel_ids(self) -> dict[str, str]:
        """Map what the tables, or the names of files, call a channel to its name."""
        return channel_ids(self._screen, numbered=not self._has_tables)

    @cached_property
    def _has_tables(self) -> bool:
        if any(self._tables({}, [])):
            return True
        if self._screen.get("load_data"):
            raise ConfigError(f"screen.load_data: no file below {self.root} matches {self._load_data.pattern!r}")
        return False

    def _tables(self, plate: Mapping[str, str], visited: list[Path]) -> Iterator[tuple[dict[str, str], Path]]:
        for values, path in self._load_data.find(self.root, plate, visited):
            if self._screen.get("load_data") or path.name in LOAD_DATA_NAMES:
                yield values, path

    def _sheets(self, plate: Mapping[str, str], visited: list[Path]) -> dict[tuple[tuple[str, str], ...], ImageSheet]:
        """Return the tables of images by what they or their paths tell of plates: pairs of key and name."""
        sheets: dict[tuple[tuple[str, str], ...], ImageSheet] = {}
        for values, path in sorted(self._tables(plate, visited), key=lambda table: _preference(table[1])):
            asked = [] if "plate" in values else [key for key in PLATE_KEYS if key not in values]
            ids = list(self.channel_ids())
            sheet = ImageSheet(path, self._screen, ids, self._references, key="screen.load_data", identity=asked)
            for told in sheet.plates().to_dict("records") if asked else [{}]:
                named = tuple({**values, **{str(key): name for key, name in told.items()}}.items())
                if named in sheets and self._screen.get("load_data"):
                    raise ConfigError(
                        f"screen.load_data: {sheets[named].path} and {path} are of the same plate; name one"
                    )
                sheets.setdefault(named, sheet)
        return sheets

    def _digests(self, sheets: Mapping[tuple[tuple[str, str], ...], ImageSheet]) -> list[str]:
        """Return the digest of what the tables say of each plate's images."""
        known = {id(sheet): sheet.digests() for sheet in {id(sheet): sheet for sheet in sheets.values()}.values()}
        found = []
        for plate, sheet in sheets.items():
            rows = known[id(sheet)]
            told = [key for key in PLATE_KEYS if key in rows]
            own = np.all([rows[key] == dict(plate)[key] for key in told], axis=0) if told else slice(None)
            found.append(str(rows.loc[own, "images_digest"].iloc[0]))
        return found

    def _locate(self, name: str, folders: Callable[[], list[Path]]) -> str | None:
        """Return the path below the root of what a table calls ``name``; None where it leads elsewhere."""
        path = self._references.relative(name)
        if path is not None and self._references.has_folder(path.rpartition("/")[0]):
            return path
        measured = folders()
        if len(measured) > 1:
            measured = [folder for folder in measured if folder.name in re.split(r"[/\\]", name)]
            if len(measured) != 1:
                raise self._several_measurements(folder.name for folder in folders())
        if not measured:
            return path
        folder = measured[0].as_posix()
        if self._references.has_folder(f"{folder}/Images"):
            folder = f"{folder}/Images"
        return self._references.relative(f"{folder}/{PureWindowsPath(name).name}")

    def _folders_of(self, plate: Mapping[str, str]) -> list[Path]:
        """Return the folders below the root that hold a plate's images."""
        found = [
            (values["batch"], path.relative_to(self.root))
            for values, path in self._folders.find(self.root)
            if plate["plate"] in (values["plate"], _plate_of(values["plate"]))
        ]
        return [path for batch, path in found if batch == plate["batch"]] or [path for _, path in found]

    def _several_measurements(self, names: Iterable[str]) -> ConfigError:
        return ConfigError(
            f"screen.root: below {self.root}/images there are several measurements of a plate ({listing(names)}); keep "
            "one"
        )


def _plate_of(folder: str) -> str:
    return folder.split(MEASUREMENT)[0]


def _preference(path: Path) -> tuple[int, str]:
    return LOAD_DATA_NAMES.index(path.name) if path.name in LOAD_DATA_NAMES else 0, path.as_posix()
