"""Harmony after an alignment, by harmonypy: Korsunsky et al. 2019, Nat. Methods 16, 1289.

Harmony moves wells by clusters that it finds among them all; it fits no transform that later wells could be put
through. What it gives to the wells of the fit is kept, and other wells are refused.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.chunks import BatchRows
from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.listing import listing

FEWEST_WELLS = 30
"""Harmony takes one cluster for thirty wells."""
SEED = 0


@dataclass(frozen=True)
class HarmonisedWells:
    """The wells of the fit as Harmony leaves them.

    Attributes
    ----------
    names
        Shape (wells,).
    coordinates
        Shape (wells, dimensions), float32.
    """

    names: NDArray[np.str_]
    coordinates: NDArray[np.float32]

    def of(self, names: NDArray[np.str_]) -> NDArray[np.float32]:
        """Return the coordinates of wells; :class:`DataError` for wells that were not in the fit."""
        order = np.argsort(self.names, kind="stable")
        places = np.searchsorted(self.names, names, sorter=order)
        rows = order[np.minimum(places, len(order) - 1)]
        unknown = names[self.names[rows] != names]
        if len(unknown):
            raise DataError(
                f"harmony cannot place wells that were not in its fit, and found {len(unknown)}: {listing(unknown)}; "
                "fit again with them (refit: true), or align without harmony"
            )
        return self.coordinates[rows]


def harmonise(aligned: NDArray[np.float64], batches: BatchRows, names: NDArray[np.str_]) -> HarmonisedWells:
    """Run Harmony on aligned wells, with its defaults and a fixed seed.

    Parameters
    ----------
    aligned
        Shape (wells, dimensions).
    batches
        What is brought together.
    names
        Of the wells, shape (wells,).
    """
    from harmonypy import run_harmony

    if len(aligned) < FEWEST_WELLS:
        raise DataError(f"harmony needs at least {FEWEST_WELLS} wells and found {len(aligned)}: align without it")
    if len(batches.names) < 2:
        logger.warning("harmony: a single batch (%s), nothing to bring together", batches.names[0])
        return HarmonisedWells(names, aligned.astype(np.float32))
    batch = {"batch": batches.codes}
    harmony = run_harmony(aligned.T, batch, "batch", random_state=SEED, verbose=False)
    return HarmonisedWells(names, np.asarray(harmony.Z_corr, dtype=np.float32))


def require_harmonypy(key: str = "alignments.*") -> None:
    """Raise :class:`ConfigError` for the alignment ``key`` where harmonypy is not installed."""
    if find_spec("harmonypy") is None:
        raise ConfigError(
            f"{key}.harmony: found true, but harmonypy is not installed; pip install 'cellmae[harmony]', or set false"
        )
