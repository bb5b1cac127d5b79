"""What a plate is called, in the tables and in the names of files."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cellmae.files import digest_json

LONGEST_SLUG = 100  # characters, so that file names stay below the 255 bytes of common file systems
SUFFIX = 8  # hexadecimal digits


@dataclass(frozen=True)
class Plate:
    """A plate of the screen.

    Attributes
    ----------
    slug
        Its name in paths: ``[A-Za-z0-9_.-]+``, unique in the screen.
    name
        Its own name, unique within the experiment.
    experiment
        The experiment it belongs to; empty where the layout knows of none.
    batch
        Wells of one batch share their technical conditions: the experiment, or the slug.
    wells_digest
        Digest of what the annotations say of this plate's wells; changes if and only if its wells table must.
    images_digest
        Digest of what tables say of its images; empty where images are looked for.
    """

    slug: str
    name: str
    experiment: str
    batch: str
    wells_digest: str
    images_digest: str = ""


def slugs(plates: Sequence[tuple[str, str]]) -> list[str]:
    """Give every plate a name that is safe in paths and shells, and unique even where case does not count.

    Parameters
    ----------
    plates
        Experiment (may be empty) and name of every plate, no pair twice.

    Returns
    -------
    list of str
        ``EXPERIMENT_NAME`` with other characters than letters, digits, ``_``, ``.`` and ``-`` replaced. Names that
        would be the same, or are too long, end in a digest, which does not depend on the other plates.
    """
    cleaned = [_clean("_".join(filter(None, plate))) for plate in plates]
    counts = Counter(slug.lower() for slug in cleaned)
    return [
        slug if counts[slug.lower()] == 1 and 0 < len(slug) <= LONGEST_SLUG else _with_digest(slug, plate)
        for slug, plate in zip(cleaned, plates, strict=True)
    ]


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts Plate2 before Plate10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts]


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")


def _with_digest(slug: str, plate: tuple[str, str]) -> str:
    kept = slug[: LONGEST_SLUG - SUFFIX - 1] or "plate"
    return f"{kept}-{digest_json(list(plate))[:SUFFIX]}"
