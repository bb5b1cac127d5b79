"""What a run will cost, as far as the fields and one image header tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cellmae.errors import DataError

HEADERS_TRIED = 5  # at most, until one can be read


@dataclass(frozen=True)
class Cost:
    """What will be read, written and trained on.

    Attributes
    ----------
    height, width
        Size of a field in pixels, from one image.
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
    training_crops
        Crops that each trained model sees.
    """

    height: int
    width: int
    channels: int
    image_bytes: int
    store_bytes: int
    tile_size: int
    grid_crops: int
    training_crops: dict[str, int]


def estimate_cost(
    fields: pd.DataFrame, *, root: str | Path, channels: int, tile_size: int, training_crops: Mapping[str, int]
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
    training_crops
        Crops to train on, by model.

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
    height, width = _field_shape([Path(root) / path for path in complete[paths[0]].iloc[spread].unique()])
    return Cost(
        height=height,
        width=width,
        channels=channels,
        image_bytes=int(complete["size"].sum()),
        store_bytes=len(complete) * channels * height * width,
        tile_size=tile_size,
        grid_crops=len(complete) * (height // tile_size) * (width // tile_size),
        training_crops=dict(training_crops),
    )


def _field_shape(images: list[Path]) -> tuple[int, int]:
    """Return height and width of the first image that has a header."""
    problems = []
    for image in images:
        try:
            return _image_shape(image)
        except (OSError, ValueError, IndexError) as error:
            problems.append(f"{image}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise DataError(f"none of {len(images)} images tried can be read ({problems[0]}): check what screen.root holds")


def _image_shape(image: Path) -> tuple[int, int]:
    if image.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        with tifffile.TiffFile(image) as file:
            page = file.pages.first
            height, width = page.imagelength, page.imagewidth
    else:
        from PIL import Image

        with Image.open(image) as file:
            width, height = file.size
    return int(height), int(width)
