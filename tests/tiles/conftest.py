"""A small synthetic plate, written as one 16-bit image a channel, and what tiles it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from cellmae.tiles import tile_plate

CHANNELS = ("nuclei", "er")


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write PNG or TIFF, as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels, level=1))
    else:
        tifffile.imwrite(path, pixels, compression="zlib")


@dataclass
class SyntheticPlate:
    """Images in ``root/images``, results in ``root/tiles``."""

    root: Path
    fields: pd.DataFrame
    pixels: np.ndarray  # (fields, channels, y, x)

    @property
    def store(self) -> Path:
        return self.root / "tiles" / "p.zarr"

    @property
    def table(self) -> Path:
        return self.root / "tiles" / "p.parquet"

    @property
    def manifest(self) -> Path:
        return self.root / "tiles" / "p.json"

    def image(self, place: int, channel: str = CHANNELS[0]) -> Path:
        return self.root / "images" / str(self.fields.loc[place, f"path_{channel}"])

    def arguments(self, **changes: Any) -> dict[str, Any]:
        arguments = {
            "fields": self.fields,
            "root": self.root / "images",
            "channels": CHANNELS,
            "store": self.store,
            "table": self.table,
            "manifest": self.manifest,
            "size": 16,
            "range_percentiles": [0.1, 99.9],
            "min_contrast": 1.0,
            "min_focus": 0.0,
            "max_saturated": 0.5,
            "max_lost_share": 0.5,
            "threads": 2,
        }
        return arguments | changes

    def tile(self, **changes: Any) -> None:
        arguments = self.arguments(**changes)
        tile_plate(arguments.pop("fields"), **arguments)


PlateMaker = Callable[..., SyntheticPlate]


@pytest.fixture
def make_plate(tmp_path: Path) -> PlateMaker:
    """Return a function that writes a plate of random textures."""

    def make(
        *, fields: int = 6, shape: tuple[int, int] = (48, 56), suffix: str = ".png", name: str = "p", seed: int = 0
    ) -> SyntheticPlate:
        root = tmp_path / name
        pixels = np.random.default_rng(seed).integers(100, 4000, (fields, len(CHANNELS), *shape), dtype=np.uint16)
        rows = []
        for place in range(fields):
            column, site = place // 2 + 1, place % 2 + 1
            row: dict[str, Any] = {"plate": name, "plate_name": "Plate1", "batch": "gene-001"}
            row |= {"well": f"A{column:02d}", "site": site, "row": 1, "column": column}
            for channel, plane in zip(CHANNELS, pixels[place], strict=True):
                row[f"path_{channel}"] = f"A{column:02d}_s{site}_{channel}{suffix}"
                write_image(root / "images" / row[f"path_{channel}"], plane)
            rows.append(row)
        return SyntheticPlate(root, pd.DataFrame(rows), pixels)

    return make


@pytest.fixture
def plate(make_plate: PlateMaker) -> SyntheticPlate:
    """Six fields of 48 x 56 pixels in three wells, not tiled yet."""
    return make_plate()
