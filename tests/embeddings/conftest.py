"""A small tiled plate, and a model with random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellmae.embeddings import embed_plate
from cellmae.models import build_baseline
from cellmae.tiles import tile_plate

CHANNELS = ["nuclei", "actin"]
CROP = 16


@dataclass
class TiledPlate:
    """What the stage tiles wrote of a plate, and where its embeddings go."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "p.zarr"

    @property
    def table(self) -> Path:
        return self.root / "p.parquet"

    @property
    def output(self) -> Path:
        return self.root / "embeddings" / "p.h5ad"

    @property
    def manifest(self) -> Path:
        return self.root / "embeddings" / "p.json"

    def embed(self, model: Path, **changes: Any) -> None:
        arguments = {
            "store": self.store,
            "table": self.table,
            "model": model,
            "output": self.output,
            "manifest": self.manifest,
            "batch_size": 8,
            "threads": 1,
            "device": "cpu",
        }
        embed_plate(**arguments | changes)


@pytest.fixture
def plate(tmp_path: Path) -> TiledPlate:
    """Three wells of two fields of nine tiles; well A02 comes first in the store's order of sites."""
    generator = np.random.default_rng(0)
    rows = []
    for column in (1, 2, 3):
        for site in (1, 2):
            row: dict[str, Any] = {"plate": "e1_p", "plate_name": "p", "batch": "e1", "well": f"A{column:02d}"}
            row |= {"site": site, "row": 1, "column": column}
            for channel in CHANNELS:
                row[f"path_{channel}"] = f"{column}_{site}_{channel}.tif"
                image = generator.integers(0, 1000 * column, (48, 48), dtype=np.uint16)
                tifffile.imwrite(tmp_path / row[f"path_{channel}"], image)
            rows.append(row)
    plate = TiledPlate(tmp_path)
    tile_plate(
        pd.DataFrame(rows),
        root=tmp_path,
        channels=CHANNELS,
        store=plate.store,
        table=plate.table,
        manifest=tmp_path / "p.json",
        size=CROP,
        range_percentiles=[0.1, 99.9],
        min_contrast=0.0,
        min_focus=0.0,
        max_saturated=1.0,
        max_lost_share=0.0,
        threads=1,
    )
    return plate


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a model that needs no training."""

    def make(*, channels: list[str] = CHANNELS, crop_size: int = CROP, **spec: Any) -> Path:
        spec = {"family": "untrained", "size": "tiny", "patch": 8} | spec
        folder = tmp_path / "models" / spec["family"]
        build_baseline(spec, channels=channels, crop_size=crop_size, folder=folder)
        return folder

    return make
