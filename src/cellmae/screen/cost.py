"""What a run will cost, as far as the fields and one image header tell."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cellmae.pretraining
from cellmae.errors import DataError
from cellmae.images import Image, UnreadableImageError, open_image

HEADERS_TRIED = 5  # at most, until one can be read


@dataclass(frozen=True)
class Cost:
    """What will be read, written and trained on.

    Attributes
    ----------
    height, width
        Size of a field in the store in pixels, from one image.
    channels
        Number of channels.
    image_bytes
        Bytes of image files to read.
    store_bytes
        Bytes of the 8-bit store of all fields.
    tile_size
        Edge of a tile in pixels.
    grid_crops
        Tiles in the grids of all fields.
    training_crops, training_flops
        Crops that each trained model sees, and the operations that this takes.
    """

    height: int
    width: int
    channels: int
    image_bytes: int
    store_bytes: int
    tile_size: int
    grid_crops: int
    training_crops: dict[str, int]
    training_flops: dict[str, float] = field(default_factory=dict)


def estimate_cost(
    fields: pd.DataFrame,
    *,
    root: Path,
    channels: int,
    tile_size: int,
    binning: float = 1,
    trained: Mapping[str, Mapping[str, Any]],
) -> Cost | None:
    """Estimate what a run will cost.

    Parameters
    ----------
    fields
        Fields of all plates; those that lack a channel are not counted.
    root
        Folder to which their paths are relative.
    channels
        Number of channels.
    tile_size
        Edge of a tile in pixels.
    binning
        Pixels in both directions that are averaged to one.
    trained
        Configurations of the models that are trained, by name. Where there are any, their operations are counted with
        PyTorch.

    Returns
    -------
    Cost or None
        None if there are no complete fields.

    Raises
    ------
    DataError
        If none of a few images, from all over the screen, has a header that can be read.
    """
    paths = [name for name in fields.columns if name == "path" or name.startswith("path_")]
    complete = fields.dropna(subset=paths)
    if complete.empty:
        return None
    spread = np.linspace(0, len(complete) - 1, HEADERS_TRIED).astype(int)
    tried = complete[paths[0]].iloc[sorted(set(spread.tolist()))]
    sides = _field_shape([open_image(root, reference) for reference in tried])
    height, width = (round(side / binning) for side in sides)
    return Cost(
        height=height,
        width=width,
        channels=channels,
        image_bytes=int(complete["size"].sum()),
        store_bytes=len(complete) * channels * height * width,
        tile_size=tile_size,
        grid_crops=len(complete) * (height // tile_size) * (width // tile_size),
        training_crops={name: spec["crops_total"] for name, spec in trained.items()},
        training_flops={
            name: cellmae.pretraining.training_flops(spec, channels=channels, crop_size=tile_size)
            for name, spec in trained.items()
        },
    )


def announce(cost: Cost, results: str | Path) -> str:
    """Say, before anything is spent, what the run reads and writes, and whether the disk has room for it."""
    folder = Path(results).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    there = sum(store.stat().st_size for store in folder.glob("tiles/*.zarr/images/c/*/0/0/0"))
    left = max(0, cost.store_bytes - there)
    said = (
        f"{written_bytes(cost.image_bytes)} of images become {written_bytes(cost.store_bytes)} of tiles below {results}"
        f", {written_bytes(left)} of them still to write; {written_bytes(free)} are free"
    )
    if left > free:
        said += ": that is too little, tiling will stop when the disk is full"
    return said


def written_bytes(number: int) -> str:
    """Return a number of bytes as people write it, in decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1000:.1f} kB"


def _field_shape(images: Sequence[Image]) -> tuple[int, int]:
    """Return height and width of the first image that has a header."""
    problems = []
    for image in images:
        try:
            form = image.format()
        except UnreadableImageError as error:
            problems.append(str(error))
        else:
            return form.height, form.width
    raise DataError(f"none of {len(images)} images tried can be read ({problems[0]}): check what screen.root holds")
