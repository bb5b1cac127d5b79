"""A control experiment: wells whose perturbations are swapped at random, of which no map may recall anything."""

import numpy as np
import pandas as pd

from cellmae.files import digest_bytes

SWAPPED = ["perturbation", "treatment"]


def shuffled(wells: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the wells of a plate with perturbations swapped at random between its treatment wells.

    Controls and empty wells stay, and so does what a plate holds: recall that is left comes from how perturbations
    are spread over plates. Each plate is drawn by itself, so that a plate added later changes no other.

    Parameters
    ----------
    wells
        As the stage screen writes them.
    seed
        Of the draw.
    """
    treated = np.flatnonzero(wells["role"] == "treatment")
    plate = int(digest_bytes(str(wells["plate"].iloc[0]).encode())[:8], 16) if len(wells) else 0
    drawn = np.random.default_rng([seed, plate]).permutation(treated)
    wells = wells.copy()
    for column in SWAPPED:
        values = wells[column].array.copy()
        values[treated] = values[drawn]
        wells[column] = values
    return wells
