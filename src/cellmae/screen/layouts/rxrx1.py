"""RxRx1: ``metadata.csv``, and a PNG a channel, ``images/HUVEC-01/Plate1/B02_s1_w1.png`` (https://www.rxrx.ai/rxrx1)."""

import pandas as pd

from cellmae.errors import DataError
from cellmae.screen.annotations import NAMELESS_CONTROL, one_row_a_well
from cellmae.screen.layouts.recursion import PLATE, RecursionLayout
from cellmae.screen.listing import listing
from cellmae.screen.metadata import as_numbers, as_text
from cellmae.screen.wells import parse_wells

ROLES = ("negative_control", "positive_control", "treatment")


class RxRx1Layout(RecursionLayout):
    """Plates as RxRx1 has them: a row a site, an siRNA a well; ``well_type`` says which wells are controls."""

    identity = ("experiment", "plate")
    required = ("well", "well_type", "sirna")
    optional = ("well_id", "cell_type", "dataset", "sirna_id")

    def annotate(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Translate rows of the table; the perturbation, and the treatment, is the siRNA.

        Raises
        ------
        DataError
            If a well has no name, its type is unknown, or rows of a well disagree.
        """
        metadata = metadata.drop_duplicates(ignore_index=True)
        role = as_text(metadata["well_type"])
        unknown = role[~role.isin(ROLES)]
        if len(unknown):
            raise DataError(
                f"{self.metadata_name}: {len(unknown)} wells have another well_type than {', '.join(ROLES)}: "
                f"{listing(map(repr, unknown.fillna('').unique()))}"
            )
        sirna = as_text(metadata["sirna"])
        sirna = sirna.mask(sirna.isna() & (role == "negative_control"), NAMELESS_CONTROL)
        annotations = parse_wells(metadata["well"]).assign(
            experiment=metadata["experiment"],
            plate_name=PLATE + metadata["plate"],
            perturbation=sirna,
            treatment=sirna,
            is_control=role == "negative_control",
            is_positive_control=role == "positive_control",
        )
        known = {name: as_numbers(as_text(metadata[name])) for name in self.optional if name in metadata}
        return one_row_a_well(annotations.assign(**known))
