from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates
from cellmae.screen.layouts import rxrx3_core

from .end_to_end import stored_fields

RNG = np.random.default_rng(0)
WELLS = {"AA41": "EMPTY_control", "B02": "TP53"}
KEYS = [f"gene-088/Plate9/{well}_s1_{channel}" for well in WELLS for channel in (1, 2, 3)]


@pytest.fixture
def planes() -> dict[str, np.ndarray]:
    return {key: RNG.integers(0, 256, (32, 32), dtype=np.uint8) for key in KEYS}


@pytest.fixture
def screen(tmp_path: Path, planes) -> Callable[..., dict[str, Any]]:
    """Return a function that writes the planes with these keys in two shards, and the metadata of one plate."""
    rxrx3_core._planes.cache_clear()

    def make(*keys: str) -> dict[str, Any]:
        (tmp_path / "data").mkdir()
        half = len(keys) // 2
        for number, part in enumerate((keys[:half], keys[half:])):
            images = [{"bytes": imagecodecs.jpeg2k_encode(planes[key], level=0), "path": None} for key in part]
            shard = pd.DataFrame({"__key__": part, "jp2": images})
            shard.to_parquet(tmp_path / f"data/train-0000{number}-of-00002.parquet", index=False, row_group_size=2)
        pd.DataFrame(
            {"well_id": [f"gene-088_9_{well}" for well in WELLS], "experiment_name": "gene-088", "plate": 9,
             "address": list(WELLS), "gene": list(WELLS.values()), "treatment": ["", "TP53_guide_1"], "SMILES": "",
             "concentration": "", "perturbation_type": "CRISPR", "cell_type": "HUVEC"}
        ).to_csv(tmp_path / "metadata_rxrx3_core.csv", index=False)  # fmt: skip
        return {
            "layout": "rxrx3-core", "root": str(tmp_path), "channels": ["nuclei", "er", "actin"],
            "batch": "experiment", "controls": ["EMPTY_control"],
        }  # fmt: skip

    return make


def test_planes_are_found_in_their_shards(screen) -> None:
    made = screen(*KEYS)
    assert list(plates(made)) == ["gene-088_Plate9"]
    fields = index_fields(made, "gene-088_Plate9").set_index("well")
    shards = [f"data/train-0000{number}-of-00002.parquet" for number in (0, 1)]
    assert fields.loc["B02", ["path_nuclei", "path_actin"]].tolist() == [f"{shards[1]}#0", f"{shards[1]}#2"]
    assert fields.loc["AA41", "path_er"] == f"{shards[0]}#1"
    assert index_wells(made, "gene-088_Plate9").set_index("well")["role"].to_dict() == {
        "B02": "treatment",
        "AA41": "negative_control",
    }


def test_stored_pixels_are_those_of_the_shards(screen, planes, tmp_path: Path) -> None:
    stored = stored_fields(screen(*KEYS), tmp_path / "out")
    for well in WELLS:
        expected = [planes[f"gene-088/Plate9/{well}_s1_{channel}"] for channel in (1, 2, 3)]
        assert np.array_equal(stored["gene-088_Plate9", well, 1], expected)


def test_a_shard_that_was_not_downloaded_leaves_planes_missing(screen, tmp_path: Path) -> None:
    made = screen(*KEYS[:-1])
    assert index_fields(made, "gene-088_Plate9").set_index("well").loc["B02", "path_actin"] is None


def test_what_is_no_shard_is_named(screen, tmp_path: Path) -> None:
    made = screen(*KEYS)
    (tmp_path / "data/train-00001-of-00002.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet is no shard of RxRx3-core"):
        plates(made)
    rxrx3_core._planes.cache_clear()
    pd.DataFrame({"__key__": ["strange"]}).to_parquet(tmp_path / "data/train-00001-of-00002.parquet")
    with pytest.raises(DataError, match="holds keys that name no plane: strange"):
        plates(made)


def test_a_folder_without_shards_is_named(screen, tmp_path: Path) -> None:
    made = screen(*KEYS)
    for shard in (tmp_path / "data").iterdir():
        shard.unlink()
    with pytest.raises(ConfigError, match=r"there is no data/train-\*\.parquet"):
        plates(made)
