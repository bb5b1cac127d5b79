"""Any other screen: images found by the pattern of their paths, and a plate map that says what was done."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import ConfigError
from cellmae.screen.annotations import annotate, one_row_a_well
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.listing import listing
from cellmae.screen.metadata import TEXT, read_metadata
from cellmae.screen.patterns import FilePattern, PlateFolders
from cellmae.screen.plate import Plate

COLUMNS = {"well": "well", "perturbation": "perturbation"}
IDENTITY = ["experiment", "plate_name"]


class PatternLayout:
    """Images by file name, annotations by plate map.

    The plate map may name plates and batches, or either, or neither (one map for all plates); so may the
    pattern. Plates are matched by what both name. If neither names a plate, there is one, called as the root
    folder.
    """

    has_images = True

    def __init__(self, screen: Mapping[str, Any]) -> None:
        self.root = Path(screen["root"])
        self._plate_map = self.root / screen["plate_map"]
        self._columns = COLUMNS | dict(screen.get("columns") or {})
        self._control_where = screen.get("control_where") or {}
        self._channels = _channel_ids(screen)
        self._pattern = FilePattern(screen["pattern"], list(self._channels))

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""
        return [self._plate_map]

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
        return ImagedPlates(self._plates.loc[self._plates["imaged"], IDENTITY], self._found.visited)

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the image files of a plate."""
        return self._pattern.images(self.root, {"batch": plate.experiment, "plate": plate.name})

    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to its name."""
        return self._channels if "channel" in self._pattern.placeholders else {}

    @cached_property
    def _mapped_wells(self) -> pd.DataFrame:
        existing_root(self.root)
        table = read_metadata(self._plate_map, key="screen.plate_map")
        return one_row_a_well(annotate(table, self._columns, self._control_where, path=self._plate_map))

    @cached_property
    def _found(self) -> PlateFolders:
        return self._pattern.plates(existing_root(self.root))

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
                f"screen.pattern: {self._pattern.pattern!r} does not tell apart plates of {self._plate_map}: {names}; "
                "add {plate} or {batch} to it"
            )


def _identity_columns(table: pd.DataFrame) -> list[str]:
    return [key for key in IDENTITY if key in table]


def _channel_ids(screen: Mapping[str, Any]) -> dict[str, str]:
    channels = list(screen["channels"])
    identifiers = [str(name) for name in screen.get("channel_ids") or range(1, len(channels) + 1)]
    if len(identifiers) != len(channels) or len(set(identifiers)) != len(channels):
        raise ConfigError(
            f"screen.channel_ids: {listing(identifiers)} do not name the channels {listing(channels)}; give one "
            "identifier a channel, in the same order"
        )
    return dict(zip(identifiers, channels, strict=True))
