"""What is fitted stays fitted: models and alignments remember the plates that they were fitted on."""

from collections.abc import Sequence
from pathlib import Path

from cellmae.files import read_json, write_json


def fitted_plates(
    record: str | Path, current: Sequence[str], listed: Sequence[str] | None = None, *, refit: bool = False
) -> list[str]:
    """Return the plates that a model or an alignment is fitted on.

    Plates listed in the configuration come first; else those it remembers in ``record``, so that a plate
    added later does not fit it anew; else, and with ``refit``, all current plates.

    Parameters
    ----------
    record
        File written by :func:`remember_plates`; it lies where Snakemake does not delete it.
    current
        Slugs of all plates of the screen.
    listed
        The ``plates`` key of the model or alignment.
    refit
        Follow the current plates instead of the remembered ones.
    """
    if listed:
        return list(listed)
    if refit or not Path(record).exists():
        return list(current)
    return list(read_json(record)["plates"])


def remember_plates(record: str | Path, plates: Sequence[str]) -> None:
    """Write down the plates of a fit, before it begins."""
    write_json(record, {"plates": list(plates)})
