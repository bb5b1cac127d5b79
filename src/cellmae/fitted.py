"""What is fitted stays fitted: models and alignments remember the plates that they were fitted on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from cellmae.errors import ConfigError
from cellmae.files import read_json, read_manifest, write_json
from cellmae.logging import logger


def fitted_plates(
    record: str | Path,
    current: Collection[str],
    *,
    key: str,
    listed: Sequence[str] = (),
    refit: bool = False,
    is_kept: Callable[[str], bool],
) -> list[str]:
    """Return the plates that a model or an alignment is fitted on.

    Plates listed in the configuration come first; else those remembered in ``record``, so that a plate added
    later does not fit it anew; else, and with ``refit``, all current plates. A plate that has since been
    removed from the screen still counts for as long as its results are kept: removing it fits nothing anew.

    Parameters
    ----------
    record
        File written by :func:`remember_plates`, of which Snakemake knows nothing: it deletes the outputs of a
        job before it runs and when it fails, and a workflow may be planned anew in between.
    current
        Slugs of all plates of the screen.
    key
        Key of the model or alignment in the configuration, for messages.
    listed
        Its ``plates``.
    refit
        Its ``refit``: follow the current plates instead of the remembered ones.
    is_kept
        Whether there are results of a plate that is no longer in the screen.

    Raises
    ------
    ConfigError
        A listed plate is neither in the screen nor kept.
    """

    def usable(plates: Sequence[str]) -> list[str]:
        return [plate for plate in plates if plate in current or is_kept(plate)]

    if listed:
        plates = usable(listed)
        unknown = [plate for plate in listed if plate not in plates]
        if unknown:
            raise ConfigError(f"{key}.plates: found '{unknown[0]}', expected plates among {', '.join(current)}")
        return plates
    if refit or not Path(record).exists():
        return list(current)
    return usable(read_json(record)["plates"]) or list(current)


def spread_plates(record: str | Path, batches: Mapping[str, str], count: int, *, key: str) -> list[str]:
    """Choose some plates, evenly from all batches: those of the last fit, if they were as many.

    Parameters
    ----------
    record
        File written by :func:`remember_plates`.
    batches
        Experimental batch of each plate to choose from.
    count
        How many to choose.
    key
        Key of the model or alignment in the configuration, for messages.

    Raises
    ------
    ConfigError
        There are not as many plates.
    """
    if count > len(batches):
        raise ConfigError(f"{key}.plates: found {count}, expected at most {len(batches)}, as many as there are")
    remembered = read_json(record)["plates"] if Path(record).exists() else []
    if len(kept := [plate for plate in remembered if plate in batches]) == count:
        return kept
    of_batch: dict[str, list[str]] = {}
    for plate, batch in batches.items():
        of_batch.setdefault(batch, []).append(plate)
    in_turn = [plate for plates in zip_longest(*of_batch.values()) for plate in plates if plate is not None]
    chosen = set(in_turn[:count])
    return [plate for plate in batches if plate in chosen]


def without_validation(
    plates: Sequence[str], validation: Sequence[str], current: Collection[str], *, key: str
) -> list[str]:
    """Return the plates that a model is trained on: those it is fitted on, less those that it is measured on.

    Parameters
    ----------
    plates, validation
        Slugs of the plates to fit on, and of those to measure on.
    current
        Slugs of all plates of the screen.
    key
        Key of the model in the configuration, for messages.

    Raises
    ------
    ConfigError
        A plate to measure on is not in the screen, or none is left to train on.
    """
    unknown = [plate for plate in validation if plate not in current]
    if unknown:
        raise ConfigError(f"{key}.validation_plates: found '{unknown[0]}', expected plates among {', '.join(current)}")
    training = [plate for plate in plates if plate not in validation]
    if not training:
        raise ConfigError(
            f"{key}.validation_plates: all {len(plates)} plates are set aside, so none is left to train on; name fewer"
        )
    return training


def remember_plates(record: str | Path, plates: Sequence[str]) -> None:
    """Write down the plates of a fit, before it begins."""
    write_json(record, {"plates": list(plates)})


def embedded_alike(manifests: Sequence[str | Path]) -> list[bool]:
    """Say of each plate whether it was embedded with the same weights as the first.

    A plate that has been removed from the screen keeps its vectors when a model is trained anew; an alignment
    cannot be fitted on both kinds.

    Parameters
    ----------
    manifests
        Manifests of the stage embeddings, that of a plate of the screen first.
    """
    weights = [read_manifest(path, stage="embeddings")["weights_digest"] for path in manifests]
    for path, digest in zip(manifests, weights, strict=True):
        if digest != weights[0]:
            logger.warning("%s is of other weights than %s: the plate is left out of the fit", path, manifests[0])
    return [digest == weights[0] for digest in weights]
