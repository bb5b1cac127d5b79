"""Which plates a screen has, found out cheaply enough to do whenever the workflow is planned."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.files import digest_bytes, digest_json, read_json, write_json
from cellmae.locations import location, modification_time_ns
from cellmae.logging import logger
from cellmae.screen import VERSION
from cellmae.screen.annotations import add_roles, check_control_labels, check_negative_controls, check_unique_wells
from cellmae.screen.layouts import Layout, open_layout
from cellmae.screen.listing import listing
from cellmae.screen.plate import Plate, natural_order, slugs
from cellmae.screen.selection import excluded, taken

IDENTITY = ["experiment", "plate_name"]


@dataclass(frozen=True)
class Survey:
    """The plates of a screen.

    Attributes
    ----------
    plates
        Plates with annotations and, unless the layout has none, images; by slug.
    without_images, without_annotation
        Names of plates that are left out because they have only the other.
    not_taken
        Plates that ``screen.plates`` and ``screen.exclude`` leave out.
    """

    plates: dict[str, Plate]
    without_images: list[str]
    without_annotation: list[str]
    not_taken: list[str]


def plates(screen: Mapping[str, Any], *, cache: str | Path | None = None) -> dict[str, Plate]:
    """Return the plates of a screen by slug; see :func:`survey`."""
    return survey(screen, cache=cache).plates


def survey(screen: Mapping[str, Any], *, cache: str | Path | None = None) -> Survey:
    """Find the plates of a screen and check its annotations, without opening an image.

    Parameters
    ----------
    screen
        The ``screen`` section of the configuration.
    cache
        JSON file that keeps the answer for as long as ``screen``, the annotation files and the folders of the
        plates stay as they are.

    Raises
    ------
    ConfigError
        If a folder, file or column that the configuration names does not exist, no image matches, a control's label
        does not occur, or there is no negative control.
    DataError
        If annotations cannot be read or contradict each other, or no plate has both images and annotations.
    """
    key = digest_json({"version": VERSION, "screen": screen})
    cached = _read_cache(Path(cache), key) if cache is not None else None
    if cached is not None:
        return cached
    layout = open_layout(screen)
    found, folders = _survey(layout, screen)
    for names, lack in ((found.without_images, "images"), (found.without_annotation, "annotations")):
        if names:
            logger.warning("plates without %s are left out: %s", lack, listing(names))
    if cache is not None:
        _write_cache(Path(cache), key, found, [*layout.sources(), *folders])
    return found


def annotated_wells(layout: Layout, screen: Mapping[str, Any], plate: Plate | None = None) -> pd.DataFrame:
    """Return the annotated wells of all plates, or of one, with their roles."""
    annotations = layout.annotations(plate)
    if plate is not None:
        own = (annotations["experiment"] == plate.experiment) & (annotations["plate_name"] == plate.name)
        annotations = annotations[own]
    return add_roles(annotations, screen.get("controls", ()), screen.get("positive_controls", ()))


def _survey(layout: Layout, screen: Mapping[str, Any]) -> tuple[Survey, list[Path]]:
    """Return the survey, and the folders where it looked."""
    wells = annotated_wells(layout, screen)
    if wells.empty:
        raise DataError(f"{listing(layout.sources())} holds no annotated well: it needs a row a well")
    check_unique_wells(wells)
    check_control_labels(wells["perturbation"], screen.get("controls", ()), screen.get("positive_controls", ()))
    annotated = list(wells[IDENTITY].drop_duplicates().itertuples(index=False, name=None))
    annotated.sort(key=lambda plate: [natural_order(part) for part in plate])

    found = layout.imaged_plates()
    imaged = set(annotated if found is None else found.plates[IDENTITY].itertuples(index=False, name=None))
    without_images = _names(set(annotated) - imaged)
    without_annotation = _names(imaged - set(annotated))
    slug_of = dict(zip(annotated, slugs(annotated), strict=True))
    kept = {plate: slug for plate, slug in slug_of.items() if plate in imaged}
    if not kept:
        raise DataError(
            f"no plate has both images and annotations: there are images of {listing(without_annotation, 5)}, and "
            f"annotations of {listing(without_images, 5)}; make their names agree"
        )
    wells = wells.assign(plate=pd.MultiIndex.from_frame(wells[IDENTITY]).map(kept)).dropna(subset="plate")
    known = {slug: Plate(slug, name, experiment, "", "") for (experiment, name), slug in kept.items()}
    plates = taken(known, screen)
    wells = wells[wells["plate"].isin(plates)]
    wells = pd.concat([_not_excluded(rows, str(slug), screen) for slug, rows in wells.groupby("plate", sort=False)])
    check_negative_controls(wells)

    digests = _digests(wells)
    images_digests = {} if found is None else _images_digests(found.plates)
    for slug, plate in plates.items():
        batch = _batch(plate.experiment, slug, screen)
        digest = digest_json([batch, digests.get(slug)])
        images = images_digests.get((plate.experiment, plate.name), "")
        plates[slug] = replace(plate, batch=batch, wells_digest=digest, images_digest=images)
    not_taken = [slug for slug in known if slug not in plates]
    return Survey(plates, without_images, without_annotation, not_taken), [] if found is None else found.folders


def _images_digests(plates: pd.DataFrame) -> dict[tuple[str, str], str]:
    if "images_digest" not in plates:
        return {}
    return dict(zip(plates[IDENTITY].itertuples(index=False, name=None), plates["images_digest"], strict=True))


def _not_excluded(wells: pd.DataFrame, slug: str, screen: Mapping[str, Any]) -> pd.DataFrame:
    return wells[~excluded(slug, screen).wells_of(wells)]


def _batch(experiment: str, slug: str, screen: Mapping[str, Any]) -> str:
    if screen["batch"] == "plate":
        return slug
    if not experiment:
        raise ConfigError(
            "screen.batch: 'experiment' was asked for, and nothing says which experiment a plate belongs to; say "
            "'plate', or name the experiment's column in screen.columns.batch"
        )
    return experiment


def _digests(wells: pd.DataFrame) -> dict[str, str]:
    """Return the digest of every plate's wells, whatever the order of the rows."""
    wells = wells.sort_values(["row", "column"], kind="stable")
    columns = digest_json(list(wells.columns)).encode()
    rows = pd.util.hash_pandas_object(wells, index=False).to_numpy()
    return {
        str(slug): digest_bytes(columns, rows[members].tobytes())
        for slug, members in wells.groupby("plate", sort=False).indices.items()
    }


def _names(plates: set[tuple[str, str]]) -> list[str]:
    return sorted((" ".join(filter(None, plate)) for plate in plates), key=natural_order)


def _read_cache(path: Path, key: str) -> Survey | None:
    """Return what was found before; None where it may no longer hold, or there is nothing that can be read."""
    try:
        cache = read_json(path)
        if cache["key"] != key or any(_state(source) != state for source, state in cache["sources"].items()):
            return None
        plates = {plate["slug"]: Plate(**plate) for plate in cache["plates"]}
        return Survey(plates, cache["without_images"], cache["without_annotation"], cache["not_taken"])
    except (DataError, OSError, KeyError, TypeError, AttributeError):
        return None


def _write_cache(path: Path, key: str, found: Survey, sources: list[Path]) -> None:
    content = {
        "key": key,
        "sources": {str(source): _state(source) for source in sources},
        "plates": [asdict(plate) for plate in found.plates.values()],
        "without_images": found.without_images,
        "without_annotation": found.without_annotation,
        "not_taken": found.not_taken,
    }
    try:
        write_json(path, content)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the plates will be looked for anew each time", path, error.strerror)


def _state(path: str | Path) -> list[int] | None:
    """Return modification time (ns) and size of a file or folder; None where there is none."""
    try:
        status = location(path, key="screen").stat()
    except OSError:
        return None
    return [modification_time_ns(status), status.st_size]
