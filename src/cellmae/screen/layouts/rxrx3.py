"""RxRx3: ``metadata.csv``, and a PNG a channel, ``images/gene-001/Plate1/AA02_s1_w3.png`` (https://www.rxrx.ai/rxrx3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.locations import location
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.listing import listing
from cellmae.screen.metadata import as_label, as_text, column_names, read_metadata
from cellmae.screen.patterns import FilePattern
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

PLATE = "Plate"  # precedes a plate's number in the name of its folder
OPTIONAL_TEXT = ["SMILES", "perturbation_type", "cell_type"]
IMAGES = "images/{batch}/{plate}/{well}_s{site}_w{channel}.png"


class RxRx3Layout:
    """Plates as RxRx3 has them; also if only some of its experiments or plates were downloaded."""

    has_images = True
    metadata_file = "metadata.csv"
    identity: ClassVar = ["experiment_name", "plate"]
    required: ClassVar = ["address", "gene", "treatment"]
    optional: ClassVar = ["concentration", *OPTIONAL_TEXT]

    def __init__(self, screen: Mapping[str, Any]) -> None:
        self.root = location(screen["root"], key="screen.root")
        self._channels = {str(number): name for number, name in enumerate(screen["channels"], start=1)}
        self._pattern = FilePattern(IMAGES, list(self._channels), key="screen.root")

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""
        return [self.root / self.metadata_file]

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return the wells of the metadata: genes with their guides, compounds with their concentrations."""
        return rxrx3_annotations(self._own(plate))

    def _own(self, plate: Plate | None) -> pd.DataFrame:
        """Return the metadata of all plates, or of one."""
        metadata = self._metadata()
        if plate is None:
            return metadata
        experiment, number = self.identity
        own = (metadata[experiment] == plate.experiment) & (metadata[number] == plate.name.removeprefix(PLATE))
        return metadata[own].reset_index(drop=True)

    def _metadata(self) -> pd.DataFrame:
        existing_root(self.root)
        path = self.root / self.metadata_file
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


def rxrx3_annotations(metadata: pd.DataFrame) -> pd.DataFrame:
    """Translate rows of RxRx3's ``metadata.csv``, as text, into annotations.

    The perturbation is the gene, or the compound; the treatment is the guide, or the compound and its
    concentration (uM).

    Raises
    ------
    DataError
        If an address is not that of a well, or a concentration is no number.
    """
    treatment = as_text(metadata["treatment"])
    annotations = parse_wells(metadata["address"]).assign(
        experiment=metadata["experiment_name"],
        plate_name=PLATE + metadata["plate"],
        perturbation=as_text(metadata["gene"]).fillna(treatment),
        treatment=treatment,
        is_control=False,
    )
    if "concentration" in metadata:
        doses = as_label(metadata["concentration"])
        annotations["treatment"] = treatment.str.cat(doses, sep="_").fillna(treatment)
        annotations["concentration"] = _concentrations(doses)
    for name in OPTIONAL_TEXT:
        if name in metadata:
            annotations[name.lower()] = as_text(metadata[name])
    return annotations


def _concentrations(doses: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(doses.astype("object").where(doses.notna(), None), errors="coerce").astype("float64")
    strange = doses[numbers.isna() & doses.notna()].unique()
    if len(strange):
        raise DataError(f"metadata.csv: these concentrations are no numbers: {listing(map(repr, strange))}")
    return numbers
