"""Small screens on disk, whose images are never opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

WELLS = ["A01", "A02", "B01", "B02"]
GENES = ["EMPTY_control", "TP53", "MYC", "TP53"]
Screen = dict[str, Any]


@pytest.fixture
def rxrx3(tmp_path: Path) -> Screen:
    """Two experiments of two plates; four wells, one site and two channels each."""
    rows = []
    for experiment in ("gene-001", "gene-002"):
        for plate in (1, 2):
            for number, (well, gene) in enumerate(zip(WELLS, GENES, strict=True)):
                guide = gene if gene == "EMPTY_control" else f"{gene}_guide_{number}"
                rows.append(
                    [f"{experiment}_{plate}_{well}", experiment, plate, well, gene, guide, "", "", "CRISPR", "HUVEC"]
                )
                for channel in (1, 2):
                    touch(tmp_path / f"images/{experiment}/Plate{plate}/{well}_s1_w{channel}.png", "pixels")
    names = ["well_id", "experiment_name", "plate", "address", "gene", "treatment", "SMILES", "concentration"]
    names += ["perturbation_type", "cell_type"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "metadata.csv", index=False)
    return {
        "layout": "rxrx3",
        "root": str(tmp_path),
        "channels": ["nuclei", "er"],
        "batch": "experiment",
        "controls": ["EMPTY_control"],
    }


@pytest.fixture
def edit_metadata(tmp_path: Path) -> Callable[[Callable[[pd.DataFrame], pd.DataFrame]], None]:
    """Return a function that changes ``metadata.csv``."""

    def edit(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        path = tmp_path / "metadata.csv"
        change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)

    return edit


@pytest.fixture
def pattern(tmp_path: Path) -> Callable[..., Screen]:
    """Return a function that makes a screen from names of files and the text of a plate map."""

    def make(files: list[str], plate_map: str, **changes: Any) -> Screen:
        for file in files:
            touch(tmp_path / "screen" / file)
        touch(tmp_path / "screen" / "map.csv", plate_map)
        return {
            "layout": "pattern",
            "root": str(tmp_path / "screen"),
            "channels": ["dna", "actin"],
            "batch": "plate",
            "controls": ["DMSO"],
            "pattern": "{plate}/{well}_s{site}_w{channel}.tif",
            "plate_map": "map.csv",
            "columns": {"plate": "plate", "well": "well", "perturbation": "compound"},
            **changes,
        }

    return make


def touch(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
