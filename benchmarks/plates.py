"""A tiled plate of noise, as large as a benchmark asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tifffile

from cellmae.tiles import tile_plate

CHANNELS = ("nuclei", "er", "actin", "nucleoli", "mitochondria", "golgi")
PLATE_COLUMNS = 24


class TiledPlate(NamedTuple):
    """Paths of what the stage tiles wrote."""

    store: Path
    table: Path


def tile_noise(
    folder: Path, *, fields: int, edge: int, crop_size: int, threads: int, channels: Sequence[str] = CHANNELS
) -> TiledPlate:
    """Draw fields of 16-bit noise, a well each, and tile them; every tile is kept.

    Parameters
    ----------
    folder
        Where to write: 3 bytes a pixel and channel at the worst, 1 byte when done.
    fields, edge
        Number of fields, and their edge in pixels.
    crop_size
        Edge of the tiles in pixels.
    threads
        CPU threads.
    channels
        Names of the channels.
    """
    generator = np.random.default_rng(0)
    rows = []
    for field in range(fields):
        row, column = divmod(field, PLATE_COLUMNS)
        facts: dict[str, Any] = {"plate": "noise", "plate_name": "noise", "batch": "noise", "site": 1}
        facts |= {"well": f"{chr(ord('A') + row)}{column + 1:02d}", "row": row + 1, "column": column + 1}
        for channel in channels:
            facts[f"path_{channel}"] = f"{field}_{channel}.tif"
            pixels = generator.integers(0, 4000, (edge, edge), dtype=np.uint16)
            tifffile.imwrite(folder / facts[f"path_{channel}"], pixels)
        rows.append(facts)
    plate = TiledPlate(folder / "noise.zarr", folder / "noise.parquet")
    tile_plate(
        pd.DataFrame(rows),
        root=folder,
        channels=channels,
        store=plate.store,
        table=plate.table,
        manifest=folder / "noise.json",
        size=crop_size,
        range_percentiles=[0.1, 99.9],
        min_contrast=0.0,
        min_focus=0.0,
        max_saturated=1.0,
        max_lost_share=0.0,
        threads=threads,
    )
    for image in folder.glob("*.tif"):
        image.unlink()
    return plate
