"""What a classifier learns to tell apart: the perturbation of the well that a field shows."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cellmae.errors import DataError
from cellmae.logging import logger
from cellmae.screen import read_wells
from cellmae.screen.listing import listing
from cellmae.tiles import open_store

FEWEST_WELLS = 2
"""Of a class: with a single well it could be told by anything that is particular to this well."""
UNKNOWN = -1


def perturbations(stores: Sequence[Path], wells: Sequence[str | Path]) -> list[np.ndarray]:
    """Return the perturbation of each field of each plate, empty text where none is known or the well is empty.

    Parameters
    ----------
    stores
        Stores of the plates.
    wells
        Their annotated wells, tables of the stage screen.
    """
    named = []
    for store, table in zip(stores, wells, strict=True):
        annotated = read_wells(table)
        used = annotated[annotated["role"] != "empty"]
        names = dict(zip(used["well"], used["perturbation"].astype("string").fillna(""), strict=True))
        named.append(np.array([names.get(well, "") for well in open_store(store).fields["well"]], dtype=object))
    return named


def choose_classes(stores: Sequence[Path], named: Sequence[np.ndarray]) -> list[str]:
    """Return the perturbations that lie in enough wells, sorted; the others are named in a warning.

    Raises
    ------
    DataError
        Fewer than two are left.
    """
    wells = {
        (number, well, name)
        for number, (store, names) in enumerate(zip(stores, named, strict=True))
        for well, name in zip(open_store(store).fields["well"], names, strict=True)
        if name
    }
    counts = Counter(name for _, _, name in wells)
    classes = sorted(name for name, count in counts.items() if count >= FEWEST_WELLS)
    if rare := sorted(set(counts) - set(classes)):
        logger.warning("%d perturbations lie in one well and are not learned: %s", len(rare), listing(rare, 10))
    if len(classes) < 2:
        raise DataError(
            f"a classifier needs at least 2 perturbations of {FEWEST_WELLS} wells each and the training plates have "
            f"{len(classes)}: train on more plates, or take another models.*.family"
        )
    return classes


def encode(named: Sequence[np.ndarray], classes: Sequence[str]) -> list[np.ndarray]:
    """Return the class of each field of each plate, (fields,) int64; -1 where it is none of them."""
    number = {name: place for place, name in enumerate(classes)}
    return [np.array([number.get(name, UNKNOWN) for name in names], dtype=np.int64) for names in named]
