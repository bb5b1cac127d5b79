"""RxRx1: ``metadata.csv`` with a row a site, a PNG a channel, ``images/HUVEC-01/Plate1/B02_s1_w3.png``.

https://www.rxrx.ai/rxrx1; the release of the NeurIPS competition is laid out alike.
"""

from typing import ClassVar

import pandas as pd

from cellmae.screen.annotations import one_row_a_well
from cellmae.screen.layouts.rxrx3 import PLATE, RxRx3Layout
from cellmae.screen.metadata import as_text
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

NEGATIVE, POSITIVE = "negative_control", "positive_control"


class RxRx1Layout(RxRx3Layout):
    """Plates as RxRx1 has them; also if only some of its experiments or plates were downloaded.

    The perturbation is the siRNA; which wells are controls, the column ``well_type`` says.
    """

    identity: ClassVar = ["experiment", "plate"]
    required: ClassVar = ["well", "well_type", "sirna"]
    optional: ClassVar = ["cell_type", "dataset", "sirna_id"]

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return the wells of the metadata."""
        metadata = self._own(plate)
        sirna, kind = as_text(metadata["sirna"]), as_text(metadata["well_type"])
        annotations = parse_wells(metadata["well"]).assign(
            experiment=metadata["experiment"],
            plate_name=PLATE + metadata["plate"],
            perturbation=sirna,
            treatment=sirna,
            is_control=(kind == NEGATIVE).fillna(False).astype(bool),
            is_positive_control=(kind == POSITIVE).fillna(False).astype(bool),
        )
        for name in self.optional:
            if name in metadata:
                annotations[name] = as_text(metadata[name])
        return one_row_a_well(annotations)
