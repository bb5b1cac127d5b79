"""From plates on disk to stored pixels, through the public functions."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from cellmae.locations import location
from cellmae.screen import index_fields, plates
from cellmae.tiles import open_store, tile_plate


def write_image(path: Path, seed: int) -> np.ndarray:
    """Write a small TIFF of noise, and return its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels)
    return pixels


def stored_fields(screen: dict[str, Any], out: Path) -> dict[tuple[str, str, int], np.ndarray]:
    """Tile all plates without changing their 8-bit pixels: (channel, y, x) by plate, well and site."""
    stored = {}
    for slug in plates(screen):
        tile_plate(
            index_fields(screen, slug),
            root=location(screen["root"], key="screen.root"),
            channels=screen["channels"],
            store=out / f"{slug}.zarr",
            table=out / f"{slug}.parquet",
            manifest=out / f"{slug}.json",
            size=16,
            ranges=dict.fromkeys(screen["channels"], (0, 255)),
            range_percentiles=(0, 100),
            min_contrast=0,
            min_focus=0,
            max_saturated=1,
            max_lost_share=0.5,
            threads=1,
        )
        store = open_store(out / f"{slug}.zarr", verify=True)
        for place, field in enumerate(store.fields.itertuples()):
            stored[slug, str(field.well), int(field.site)] = np.array(store.field(place))
    return stored
