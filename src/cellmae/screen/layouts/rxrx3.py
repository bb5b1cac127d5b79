"""RxRx3: ``metadata.csv``, and a PNG a channel, ``images/gene-001/Plate1/AA02_s1_w3.png`` (https://www.rxrx.ai/rxrx3)."""

import pandas as pd

from cellmae.errors import DataError
from cellmae.screen.layouts.recursion import PLATE, RecursionLayout
from cellmae.screen.listing import listing
from cellmae.screen.metadata import as_label, as_text
from cellmae.screen.wells import parse_wells

OPTIONAL_TEXT = ("SMILES", "perturbation_type", "cell_type")


class RxRx3Layout(RecursionLayout):
    """Plates as RxRx3 has them: genes with their guides, compounds with their concentrations."""

    identity = ("experiment_name", "plate")
    required = ("address", "gene", "treatment")
    optional = ("concentration", *OPTIONAL_TEXT)

    def annotate(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Translate rows of the table, see :func:`rxrx3_annotations`."""
        return rxrx3_annotations(metadata)


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
