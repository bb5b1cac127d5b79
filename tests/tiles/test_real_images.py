"""Real microscope images through the stage."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from cellmae.files import read_manifest
from cellmae.tiles import CropSource, open_store, read_tiles, tile_plate


def tile_folder(folder: Path, pattern: str, channels: list[str], out: Path, size: int) -> tuple[Path, Path, Path]:
    """Tile the images of a folder whose names match a pattern with the groups well, site and channel."""
    rows: dict[tuple[str, int], dict[str, object]] = {}
    for path in sorted(folder.glob("*.tif")):
        found = re.fullmatch(pattern, path.name)
        assert found is not None
        well, site = found["well"], int(found["site"])
        place = {"row": ord(well[0]) - ord("A") + 1, "column": int(well[1:])}
        row = rows.setdefault(
            (well, site), {"plate": "p", "plate_name": "p", "batch": "b", "well": well, "site": site, **place}
        )
        row[f"path_{found['channel']}"] = path.name
    store, table, manifest = out / "p.zarr", out / "p.parquet", out / "p.json"
    tile_plate(
        pd.DataFrame(rows.values()).sort_values(["row", "column", "site"]),
        root=folder,
        channels=channels,
        store=store,
        table=table,
        manifest=manifest,
        size=size,
        range_percentiles=[0.1, 99.9],
        min_contrast=1.0,
        min_focus=0.0,
        max_saturated=0.5,
        max_lost_share=0.05,
        threads=2,
    )
    return store, table, manifest


def test_bbbc021(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "bbbc021" / "images" / "Week4_27542"
    paths = tile_folder(folder, r"(?P<well>\w+)_s(?P<site>\d+)_w(?P<channel>\d)\.tif", ["1", "2", "3"], tmp_path, 64)
    store, tiles = open_store(paths[0], verify=True), read_tiles(paths[1])
    assert store.shape == (6, 3, 512, 512)
    # The fields are mosaics of 64-pixel crops around cells: the grid follows their seams, and none is empty.
    assert set(tiles["y"]) == set(tiles["x"]) == set(range(0, 512, 64))
    assert tiles["keep"].all()
    assert tiles["foreground"].between(0.0, 0.95).all()
    for channel in "123":
        assert tiles[f"mean_{channel}"].median() > 5
        first = store.fields.iloc[0]
        raw = tifffile.imread(folder / f"{first['well']}_s{first['site']}_w{channel}.tif").astype(float)
        stored = store.field(0)[int(channel) - 1]
        assert np.corrcoef(raw.ravel(), stored.ravel())[0, 1] > 0.99
    crops = CropSource([paths[0]], [paths[1]], size=64, crops="grid").batch(0, seed=0, batch_size=32)
    assert (crops.std(axis=(2, 3)) > 1).all()


def test_nf1(test_data: Path, tmp_path: Path) -> None:
    pattern = r"(?P<well>[A-Z]\d+)_01_\d_(?P<site>\d)_(?P<channel>\w+)_001\.tif"
    paths = tile_folder(test_data / "nf1", pattern, ["DAPI", "GFP", "RFP"], tmp_path, 256)
    store, tiles, manifest = (
        open_store(paths[0], verify=True),
        read_tiles(paths[1]),
        read_manifest(paths[2], stage="tiles"),
    )
    assert store.shape == (5, 3, 904, 1224)
    assert manifest["tiles"] == 5 * 3 * 4
    assert manifest["kept"] >= 0.8 * manifest["tiles"]
    # 904 = 3 * 256 + 136: the grid leaves the same margin above and below.
    assert sorted(set(tiles["y"])) == [68, 324, 580]


def test_tiles_without_a_nucleus_are_told_by_their_contrast(test_data: Path, tmp_path: Path) -> None:
    pattern = r"(?P<well>[A-Z]\d+)_01_\d_(?P<site>\d)_(?P<channel>\w+)_001\.tif"
    _, table, _ = tile_folder(test_data / "nf1", pattern, ["DAPI", "GFP", "RFP"], tmp_path, 64)
    tiles = read_tiles(table)
    empty = tiles[tiles["reason"] == "low contrast"]
    assert 0.3 < len(empty) / len(tiles) < 0.8
    assert empty["sd_DAPI"].median() < 1 < tiles.loc[tiles["keep"], "sd_DAPI"].min()
