"""Two small tiled plates, and a model that is small enough to be trained on them in a second."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellmae.pretraining import pretrain
from cellmae.tiles import tile_plate

CHANNELS = ["nuclei", "actin"]
CROP = 16
SPEC = {
    "family": "mae",
    "size": "tiny",
    "patch": 8,
    "decoder_depth": 1,
    "crops_total": 96,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "drop_path": 0.2,
    "precision": "float32",
    "seed": 5,
}


@dataclass
class TiledPlates:
    """Manifests of what the stage tiles wrote, a file a plate, and the annotated wells."""

    manifests: list[Path]
    wells: list[Path]

    def pretrain(self, folder: Path, **changes: Any) -> None:
        """Pretrain as :data:`SPEC` says, with changes."""
        pretrain(SPEC | changes, **self.arguments(folder))

    def arguments(self, folder: Path) -> dict[str, Any]:
        return {
            "tiles": self.manifests,
            "channels": CHANNELS,
            "crop_size": CROP,
            "folder": folder,
            "threads": 1,
            "device": "cpu",
        }


def tile(root: Path, plate: str, *, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = []
    for column in (1, 2, 3):
        row: dict[str, Any] = {"plate": plate, "plate_name": plate, "batch": "b", "well": f"A{column:02d}", "site": 1}
        row |= {"row": 1, "column": column}
        for channel in CHANNELS:
            row[f"path_{channel}"] = f"{plate}_{column}_{channel}.tif"
            tifffile.imwrite(root / row[f"path_{channel}"], generator.integers(0, 4000, (48, 48), dtype=np.uint16))
        rows.append(row)
    wells = pd.DataFrame(rows)[["plate", "plate_name", "batch", "well", "row", "column"]]
    genes = ["PSMA1", "PSMB2", "EMPTY_control"]
    roles = ["treatment", "treatment", "negative_control"]
    wells.assign(perturbation=genes, treatment=genes, role=roles).to_parquet(root / f"{plate}.wells.parquet")
    tile_plate(
        pd.DataFrame(rows),
        root=root,
        channels=CHANNELS,
        store=root / f"{plate}.zarr",
        table=root / f"{plate}.parquet",
        manifest=root / f"{plate}.json",
        size=CROP,
        range_percentiles=[0.1, 99.9],
        min_contrast=0.0,
        min_focus=0.0,
        max_saturated=1.0,
        max_lost_share=0.0,
        threads=1,
    )


@pytest.fixture(scope="session")
def make_plates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TiledPlates]:
    """Return a function that tiles plates of noise."""

    def make(*seeds: int) -> TiledPlates:
        root = tmp_path_factory.mktemp("plates")
        names = [f"plate{seed}" for seed in seeds]
        for name, seed in zip(names, seeds, strict=True):
            tile(root, name, seed=seed)
        return TiledPlates(*([root / f"{name}{suffix}" for name in names] for suffix in (".json", ".wells.parquet")))

    return make


@pytest.fixture(scope="session")
def plates(make_plates: Callable[..., TiledPlates]) -> TiledPlates:
    """Two plates with three wells of nine tiles each."""
    return make_plates(0, 1)
