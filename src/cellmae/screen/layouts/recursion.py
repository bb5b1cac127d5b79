"""What Recursion's public sets have in common: a table of wells, and ``Plate1``, ``Plate2``, ... in experiments."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.locations import location
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.metadata import as_text, column_names, read_metadata
from cellmae.screen.patterns import FilePattern
from cellmae.screen.plate import Plate

PLATE = "Plate"  # precedes a plate's number in the name of its folder
IMAGES = "images/{batch}/{plate}/{well}_s{site}_w{channel}.png"


class RecursionLayout(ABC):
    """A PNG a channel and a table of wells; also if only some experiments or plates were downloaded.

    Attributes
    ----------
    metadata_name
        Name of the table below the root.
    identity
        Its columns with the experiment and with the number of the plate.
    required, optional
        The other columns that it must and may have.
    """

    has_images = True
    metadata_name: ClassVar[str] = "metadata.csv"
    identity: ClassVar[tuple[str, str]]
    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]]

    def __init__(self, screen: Mapping[str, Any]) -> None:
        self.root = location(screen["root"], key="screen.root")
        self._channels = {str(number): name for number, name in enumerate(screen["channels"], start=1)}
        self._pattern = FilePattern(IMAGES, list(self._channels), key="screen.root")

    @abstractmethod
    def annotate(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Translate rows of the table, as text, into annotations, see :meth:`annotations`."""

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""
        return [self.root / self.metadata_name]

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return what was done to each well."""
        metadata = self._metadata()
        if plate is not None:
            experiment, number = self.identity
            own = (metadata[experiment] == plate.experiment) & (metadata[number] == plate.name.removeprefix(PLATE))
            metadata = metadata[own].reset_index(drop=True)
        return self.annotate(metadata)

    def _metadata(self) -> pd.DataFrame:
        existing_root(self.root)
        path = self.root / self.metadata_name
        names = column_names(path, key="screen.root")
        required = [*self.identity, *self.required]
        missing = [name for name in required if name not in names]
        if missing:
            raise ConfigError(
                f"screen.root: {path} has no column {', '.join(missing)}; its columns are {', '.join(names)}; "
                "screen.layout 'pattern' reads tables of other kinds"
            )
        metadata = read_metadata(path, [*required, *self.optional], key="screen.root")
        for name in self.identity:
            metadata[name] = as_text(metadata[name])
            if metadata[name].isna().any():
                raise DataError(f"{path}: {metadata[name].isna().sum()} rows have no {name}; fill it in or remove them")
        return metadata

    def imaged_plates(self) -> ImagedPlates | None:
        """Return the plates that have images, and where they were looked for."""
        found = self._pattern.plates(existing_root(self.root))
        plates = found.plates.rename(columns={"batch": "experiment", "plate": "plate_name"})
        return ImagedPlates(plates, found.visited)

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the image files of a plate."""
        return self._pattern.images(self.root, {"batch": plate.experiment, "plate": plate.name})

    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to its name."""
        return self._channels
