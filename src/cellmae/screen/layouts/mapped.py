"""What layouts have in common whose images and annotations lie apart: plates are matched by what both sides name."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.locations import location
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.listing import listing
from cellmae.screen.metadata import TEXT
from cellmae.screen.patterns import PlateFolders
from cellmae.screen.plate import Plate
from cellmae.screen.platemaps import PlateMap

IDENTITY = ["experiment", "plate_name"]


class AnnotatedWells(Protocol):
    """What a layout asks of a plate map."""

    def wells(self) -> pd.DataFrame:
        """Return the annotations, see :meth:`cellmae.screen.platemaps.PlateMap.wells`."""

    def sources(self) -> list[Path]:
        """Return the files that are read."""


class MappedLayout(ABC):
    """Images below a root, annotations by plate map.

    The plate map may name plates and batches, or either, or neither (one map for all plates); so may the
    images. Plates are matched by what both name. If neither names a plate, there is one, called as the root
    folder.

    Parameters
    ----------
    screen
        The ``screen`` section of the configuration.
    annotated
        What holds the annotations; left out, the plate map that ``screen.plate_map`` names.
    """

    has_images = True

    def __init__(self, screen: Mapping[str, Any], annotated: AnnotatedWells | None = None) -> None:
        self.root = location(screen["root"], key="screen.root")
        self._plate_map = annotated or PlateMap(self.root, screen)

    @abstractmethod
    def find_plates(self) -> PlateFolders:
        """Return the plates that have images; with a column for each of ``batch`` and ``plate`` that images tell."""

    @abstractmethod
    def images(self, plate: Plate) -> pd.DataFrame:
        """List the image files of a plate, see :class:`~cellmae.screen.layouts.layout.Layout`."""

    @abstractmethod
    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to its name."""

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""
        return self._plate_map.sources()

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return what was done to each well."""
        wells = self._mapped_wells
        keys = _identity_columns(wells)
        if plate is None:
            plates = self._plates.loc[self._plates["annotated"], IDENTITY]
            return wells.merge(plates, on=keys) if keys else wells.merge(plates, how="cross")
        own = {"experiment": plate.experiment, "plate_name": plate.name}
        for key in keys:
            wells = wells[wells[key] == own[key]]
        return wells.assign(**own).reset_index(drop=True)

    def imaged_plates(self) -> ImagedPlates:
        """Return the plates that have images, and where they were looked for."""
        known = [*IDENTITY, *(["images_digest"] if "images_digest" in self._plates else [])]
        return ImagedPlates(self._plates.loc[self._plates["imaged"], known], self._found.visited)

    @cached_property
    def _mapped_wells(self) -> pd.DataFrame:
        existing_root(self.root)
        return self._plate_map.wells()

    @cached_property
    def _found(self) -> PlateFolders:
        existing_root(self.root)
        return self.find_plates()

    @cached_property
    def _plates(self) -> pd.DataFrame:
        """All plates, of images or of the plate map: their identity, and ``imaged`` and ``annotated``."""
        found = self._found.plates.rename(columns={"batch": "experiment", "plate": "plate_name"}).astype(TEXT)
        keys = _identity_columns(self._mapped_wells)
        mapped = self._mapped_wells[keys].drop_duplicates() if keys else pd.DataFrame(index=[0])
        shared = [key for key in keys if key in found]
        if shared:
            plates = found.merge(mapped, on=shared, how="outer", indicator="side")
        else:
            plates = found.merge(mapped, how="cross").assign(side="both")
        self._check_one_plate_each(plates[plates["side"] == "both"], _identity_columns(found))
        absent = {"experiment": "", "plate_name": self.root.resolve().name}
        plates = plates.assign(**{key: name for key, name in absent.items() if key not in plates})
        return plates.assign(
            experiment=plates["experiment"].fillna("").astype(TEXT),
            plate_name=plates["plate_name"].astype(TEXT),
            imaged=plates["side"] != "right_only",
            annotated=plates["side"] != "left_only",
        )

    def _check_one_plate_each(self, plates: pd.DataFrame, keys: list[str]) -> None:
        """Raise :class:`ConfigError` if the same images would belong to several plates of the plate map."""
        if keys:
            plates = plates[plates.duplicated(keys, keep=False)]
        if len(plates) > 1:
            names = listing(" ".join(row) for row in plates[_identity_columns(plates)].itertuples(index=False))
            raise ConfigError(
                f"screen.plate_map: the images below {self.root} do not tell apart these plates of it: {names}; "
                "make folders, screen.pattern or the table of images name the plate or the batch"
            )


def channel_ids(screen: Mapping[str, Any], *, numbered: bool = True) -> dict[str, str]:
    """Return the configured channels by what stands for them: ``channel_ids``, or 1, 2, ..., or else their names."""
    channels = list(screen["channels"])
    names = range(1, len(channels) + 1) if numbered else channels
    identifiers = [str(name) for name in screen.get("channel_ids") or names]
    if len(identifiers) != len(channels) or len(set(identifiers)) != len(channels):
        raise ConfigError(
            f"screen.channel_ids: {listing(identifiers)} do not name the channels {listing(channels)}; give one "
            "identifier a channel, in the same order"
        )
    return dict(zip(identifiers, channels, strict=True))


def channel_numbers(identifiers: Iterable[str], names: Mapping[str, str], told_by: Path) -> dict[str, str]:
    """Map the numbers of channels to the identifiers that stand for them: their numbers or their names.

    Parameters
    ----------
    identifiers
        The keys of :func:`channel_ids`.
    names
        The names of all channels there are by their numbers; empty where they have none.
    told_by
        File or folder that says so, for messages.

    Raises
    ------
    DataError
        An identifier stands for no channel, or for several.
    """
    found = {}
    for identifier in identifiers:
        numbers = [number for number, name in names.items() if identifier in (number, name)]
        if len(numbers) != 1 or numbers[0] in found:
            known = listing((f"{number} {name}".strip() for number, name in names.items()), 20)
            raise DataError(
                f"{told_by} has no channel {identifier!r} (or several); its channels are {known}: correct "
                "screen.channel_ids, or leave the plate out by screen.exclude.plates"
            )
        found[numbers[0]] = identifier
    return found


def _identity_columns(table: pd.DataFrame) -> list[str]:
    return [key for key in IDENTITY if key in table]
