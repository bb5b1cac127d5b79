"""The two tables of a plate: what images there are, and what was done to each well."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cellmae.errors import DataError
from cellmae.logging import logger
from cellmae.screen.layouts import open_layout
from cellmae.screen.listing import counted, listing
from cellmae.screen.metadata import TEXT
from cellmae.screen.plate import Plate
from cellmae.screen.selection import excluded
from cellmae.screen.surveying import annotated_wells, plates

WELLS_COLUMNS = ["plate", "plate_name", "batch", "well", "row", "column", "perturbation", "treatment", "role"]
FIELDS_COLUMNS = ["plate", "plate_name", "batch", "well", "site", "row", "column"]
ANNOTATION_KEYS = {
    *(
        "batch",
        "columns",
        "control_where",
        "controls",
        "exclude",
        "fetch",
        "plate_map",
        "plates",
        "positive_controls",
        "simulation",
    )
}
POSITION = ["well", "row", "column"]
SITE = ["row", "column", "site"]


def image_settings(screen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the ``screen`` section that says where images lie: labels and roles tell nothing of that."""
    settings = {key: value for key, value in screen.items() if key not in ANNOTATION_KEYS}
    if screen["layout"] == "sheet":  # whose rows are images, too
        settings["columns"] = {key: (screen.get("columns") or {}).get(key) for key in ("plate", "batch", "well")}
    return settings


def index_fields(screen: Mapping[str, Any], slug: str, *, cache: str | Path | None = None) -> pd.DataFrame:
    """List the fields of a plate and the files that hold them.

    Parameters
    ----------
    screen
        The ``screen`` section of the configuration.
    slug
        Name of the plate, as :func:`cellmae.screen.plates` gives it.
    cache
        The cache of :func:`cellmae.screen.plates`.

    Returns
    -------
    pandas.DataFrame
        A row a field, ordered by row, column and site: ``plate``, ``plate_name``, ``batch``, ``well``, ``site``,
        ``row``, ``column``, then ``path_{channel}`` for each channel (relative to ``screen.root``; null where the
        image is missing) or ``path`` of an image with all channels, ``size`` (bytes, all files) and ``mtime_ns`` (the
        latest). Where z stacks are projected whose planes are files of their own, a path is the list of theirs. Without
        rows for a layout that has no images.

    Raises
    ------
    DataError
        If the plate is unknown or its images are gone, or several files claim to be the same image.
    """
    plate = _find(screen, slug, cache)
    layout = open_layout(screen)
    files = layout.images(plate)
    if files.empty and layout.has_images:
        raise DataError(f"there are no images of the plate {slug} in {screen['root']} (any more): put them there")
    channels = layout.channel_ids()
    files = files.assign(column_name="path_" + files["channel"].map(channels) if channels else "path")
    left_out = excluded(slug, screen).sites_of(files)
    files = _planes(files[~left_out], screen.get("z", "max"))
    groups = files.groupby(SITE)
    facts = groups.agg(well=("well", "first"), size=("size", "sum"), mtime_ns=("mtime_ns", "max"))
    paths = _paths(files)
    paths = paths.reindex(columns=[f"path_{name}" for name in channels.values()] if channels else paths.columns)
    fields = _with_plate(facts.join(paths).reset_index(), plate)
    logger.info(
        "%s: %d fields of %d wells, %d of them without some image; %d image files excluded",
        slug, len(fields), fields["well"].nunique(), paths.isna().any(axis=1).sum(), left_out.sum(),
    )  # fmt: skip
    return _plain(fields[[*FIELDS_COLUMNS, *paths.columns, "size", "mtime_ns"]])


def index_wells(screen: Mapping[str, Any], slug: str, *, cache: str | Path | None = None) -> pd.DataFrame:
    """List what was done to the wells of a plate.

    Parameters and errors are those of :func:`index_fields`.

    Returns
    -------
    pandas.DataFrame
        A row a well, ordered by row and column: ``plate``, ``plate_name``, ``batch``, ``well``, ``row``, ``column``,
        ``perturbation``, ``treatment``, ``role`` (``treatment``, ``negative_control``, ``positive_control`` or
        ``empty``), then what else the layout knows. Wells that have images and no annotation are there, too:
        their perturbation is null and their role ``empty``.
    """
    plate = _find(screen, slug, cache)
    layout = open_layout(screen)
    annotated = annotated_wells(layout, screen, plate)
    imaged = layout.images(plate)[POSITION].astype({"well": TEXT})
    every = pd.concat([annotated[POSITION], imaged]).drop_duplicates().sort_values(["row", "column"])
    left_out = excluded(slug, screen).wells_of(every)
    every = every[~left_out]
    wells = _with_plate(every.merge(annotated, on=POSITION, how="left"), plate)
    wells["role"] = wells["role"].fillna("empty")
    roles = counted({str(role): n for role, n in wells["role"].value_counts().items()}).replace("_", " ")
    logger.info("%s: %d wells (%s), %d excluded", slug, len(wells), roles, left_out.sum())
    extras = [name for name in annotated.columns if name not in [*WELLS_COLUMNS, "experiment"]]
    known = ["experiment"] if plate.experiment else []
    return _plain(wells.assign(experiment=plate.experiment)[[*WELLS_COLUMNS, *known, *extras]])


def _find(screen: Mapping[str, Any], slug: str, cache: str | Path | None) -> Plate:
    known = plates(screen, cache=cache)
    if slug not in known:
        raise DataError(f"the screen has no plate {slug!r}; its plates are {listing(known)}")
    return known[slug]


def _planes(files: pd.DataFrame, z: str | int) -> pd.DataFrame:
    """Keep the planes of z stacks that are asked for; :class:`DataError` where files claim to be the same plane."""
    keys = [*SITE, "column_name"]
    if "z" in files:
        if z != "max" and files["z"].nunique() > 1:
            there = sorted(files["z"].unique())
            files = files[files["z"] == z]
            if files.empty:
                raise DataError(f"screen.z: no image is plane {z}; there are the planes {listing(there)}")
        keys.append("z")
    twice = files[files.duplicated(keys, keep=False)].sort_values([*keys, "path"])
    if len(twice):
        first, second = twice["path"].iloc[:2]
        raise DataError(
            f"{first} and {second} are both well {twice['well'].iloc[0]}, site {twice['site'].iloc[0]} of one channel; "
            "tell them apart (in screen.pattern, a `*` stands where {site}, {channel} or {z} should), or remove one"
        )
    return files.sort_values(keys)


def _paths(files: pd.DataFrame) -> pd.DataFrame:
    """Arrange paths in a row a field and a column a channel; as lists if any field has several planes of one.

    Of a stack that lacks a plane, there is no path.
    """
    keys = [*SITE, "column_name"]
    if files.duplicated(keys).any():
        stacks = files.groupby(keys, sort=False)["path"]
        paths = stacks.agg(list).where(stacks.count() == stacks.size(), None).rename("path").reset_index()
    else:
        paths = files
    return paths.pivot(index=SITE, columns="column_name", values="path")


def _with_plate(table: pd.DataFrame, plate: Plate) -> pd.DataFrame:
    return table.assign(plate=plate.slug, plate_name=plate.name, batch=plate.batch)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text as str and None, which every reader of Parquet understands."""
    text = [name for name in table.columns if not is_numeric_dtype(table[name])]  # booleans count as numeric
    present = table[text].astype("object")
    return table.assign(**present.where(present.notna(), None)).reset_index(drop=True)
