import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cellmae.errors import ConfigError, DataError
from cellmae.images import UnreadableImageError, open_image
from cellmae.screen import index_fields, index_wells, plates
from cellmae.tiles import open_store, tile_plate

ngio = pytest.importorskip("ngio")
RNG = np.random.default_rng(0)


def write(
    root: Path, images: dict[str, np.ndarray], *, name: str = "P1.zarr", axes: str = "cyx", **options: Any
) -> None:
    version = options.setdefault("ngff_version", "0.4")
    folder = root / name
    plate = ngio.create_empty_plate(folder, name="P1", ngff_version=version)
    for place, pixels in images.items():
        row, column, image = place.split("/")
        plate.add_image(row=row, column=column, image_path=image)
        options.setdefault(
            "channels_meta", ["DNA", "ER", "Actin"][: pixels.shape[axes.index("c")]] if "c" in axes else None
        )
        ngio.create_ome_zarr_from_array(
            folder / place, pixels, pixelsize=0.5, levels=2, axes_names=list(axes), overwrite=True, **options
        )


def textures(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return RNG.integers(1, 250, shape).astype(dtype)


def screen_of(root: Path, **changes: Any) -> dict[str, Any]:
    (root / "map.csv").write_text("plate,well,perturbation\nP1,A1,DMSO\nP1,A2,x\n")
    screen = {"layout": "ome-zarr", "root": str(root), "channels": ["dna", "actin"], "batch": "plate"}
    screen |= {"channel_ids": ["DNA", "Actin"], "window": 32, "controls": ["DMSO"], "plate_map": "map.csv"}
    return screen | {"columns": {"plate": "plate"}} | changes


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plates_end_to_end(tmp_path, version, separator, dtype):
    images = {"A/01/0": textures(3, 32, 32, dtype=dtype), "A/02/0": textures(3, 80, 70, dtype=dtype)}
    write(tmp_path / "day1", images, name="P1.ome.zarr", ngff_version=version, dimension_separator=separator)
    screen = screen_of(tmp_path)
    assert list(plates(screen)) == ["P1"]
    assert index_wells(screen, "P1")["perturbation"].tolist() == ["DMSO", "x"]
    fields = index_fields(screen, "P1")
    assert fields["site"].tolist() == [1, 10001, 10002, 10003, 10004]
    assert fields["path"][4] == "day1/P1.ome.zarr/A/02/0/0#axes=cyx&t=0&c=0,2&y=40:72&x=35:67"
    assert fields["size"].tolist() == [2 * 32 * 32 * np.dtype(dtype).itemsize] * 5
    expected = [images["A/01/0"][[0, 2]]]
    expected += [images["A/02/0"][[0, 2], y : y + 32, x : x + 32] for y in (8, 40) for x in (3, 35)]
    for path, pixels in zip(fields["path"], expected, strict=True):
        image = open_image(tmp_path, path)
        np.testing.assert_array_equal(image.planes(image.format()), pixels)
    out = tmp_path / "out"
    tile_plate(
        fields,
        root=tmp_path,
        channels=screen["channels"],
        store=out / "P1.zarr",
        table=out / "P1.parquet",
        manifest=out / "P1.json",
        size=16,
        ranges={"dna": (0, 255), "actin": (0, 255)},
        range_percentiles=[0, 100],
        min_contrast=0,
        min_focus=0,
        max_saturated=1,
        max_lost_share=0,
        threads=1,
    )
    np.testing.assert_array_equal(open_store(out / "P1.zarr").images[:], np.stack(expected))


def test_levels_z_and_timepoints(tmp_path):
    pixels = textures(2, 3, 4, 32, 32)
    write(tmp_path, {"A/01/0": pixels}, axes="tczyx")
    path = index_fields(screen_of(tmp_path, timepoint=2), "P1")["path"][0]
    np.testing.assert_array_equal(open_image(tmp_path, path).planes(), pixels[1, [0, 2]].max(axis=1))
    np.testing.assert_array_equal(open_image(tmp_path, path, z=1).planes(), pixels[1, [0, 2], 1])
    with pytest.raises(UnreadableImageError, match="4 along z, number 5 was asked for"):
        open_image(tmp_path, path, z=4).planes()
    half = open_image(tmp_path, index_fields(screen_of(tmp_path, level=1), "P1")["path"][0])
    assert half.format().shape == (2, 16, 16)
    stored = zarr.open_array(tmp_path / "P1.zarr/A/01/0/1", mode="r")[0, [0, 2]].max(axis=1)
    np.testing.assert_array_equal(half.planes(), stored)
    for change, reason in (({"level": 2}, "levels 0 to 1, not 2"), ({"timepoint": 3}, "2 time points, not 3")):
        with pytest.raises(ConfigError, match=reason):
            index_fields(screen_of(tmp_path, **change), "P1")


def test_windows_of_sharded_arrays(tmp_path):
    pixels = textures(3, 128, 128)
    write(tmp_path, {"A/01/0": pixels}, ngff_version="0.5", chunks=(1, 16, 16), shards=(1, 64, 64))
    assert zarr.open_array(tmp_path / "P1.zarr/A/01/0/0", mode="r").shards == (1, 64, 64)
    paths = index_fields(screen_of(tmp_path, window=48), "P1")["path"]
    assert len(paths) == 4
    np.testing.assert_array_equal(open_image(tmp_path, paths[3]).planes(), pixels[[0, 2], 64:112, 64:112])
    for file in (tmp_path / "P1.zarr/A/01/0/0/c").rglob("1"):
        if file.is_file():
            file.unlink()  # the shards of the right half
    with pytest.raises(UnreadableImageError, match="none of its chunks is stored"):
        open_image(tmp_path, paths[3]).planes()


def test_images_without_channels_and_numbers_of_channels(tmp_path):
    pixels = textures(32, 32)
    write(tmp_path, {"A/01/0": pixels}, axes="yx")
    screen = screen_of(tmp_path, channels=["dna"])
    screen.pop("channel_ids")
    path = index_fields(screen, "P1")["path"][0]
    np.testing.assert_array_equal(open_image(tmp_path, path).planes(), pixels[None])


def test_missing_channels_name_those_there_are(tmp_path):
    write(tmp_path, {"A/01/0": textures(3, 32, 32)})
    with pytest.raises(DataError, match=r"no channel 'RNA'.*3 channels are DNA, ER, Actin"):
        index_fields(screen_of(tmp_path, channel_ids=["DNA", "RNA"]), "P1")


def test_missing_wells_are_fields_without_a_path(tmp_path):
    write(tmp_path, {"A/01/0": textures(3, 32, 32), "A/02/0": textures(3, 32, 32)})
    (tmp_path / "P1.zarr/A/02").rename(tmp_path / "gone")
    fields = index_fields(screen_of(tmp_path), "P1")
    assert fields["well"].tolist() == ["A01", "A02"]
    assert fields["path"].isna().tolist() == [False, True]


def test_damaged_metadata_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no folder \*.zarr at most two levels below"):
        plates(screen_of(tmp_path))
    write(tmp_path, {"A/01/0": textures(3, 32, 32)})
    attributes = tmp_path / "P1.zarr/.zattrs"
    content = json.loads(attributes.read_text())
    content["plate"]["wells"][0]["path"] = "../../A/01"
    attributes.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"P1\.zarr"):
        index_fields(screen_of(tmp_path), "P1")
    attributes.write_text("{")
    with pytest.raises(DataError, match="zattrs is no metadata of OME-Zarr"):
        plates(screen_of(tmp_path))


def test_windows_read_only_their_chunks(tmp_path):
    pixels = textures(1, 128, 128)
    write(tmp_path, {"A/01/0": pixels}, chunks=(1, 32, 32))
    screen = screen_of(tmp_path, channels=["dna"], channel_ids=[1])
    paths = index_fields(screen, "P1")["path"]
    for file in (tmp_path / "P1.zarr/A/01/0/0").rglob("*"):
        if file.is_file() and not file.name.startswith(".") and file.relative_to(tmp_path).parts[-2:] != ("1", "2"):
            file.write_bytes(b"damaged")
    np.testing.assert_array_equal(open_image(tmp_path, paths[6]).planes(), pixels[:, 32:64, 64:96])
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        open_image(tmp_path, paths[0]).planes()
    (tmp_path / "P1.zarr/A/01/0/0/0/1/2").unlink()
    with pytest.raises(UnreadableImageError, match="none of its chunks is stored"):
        open_image(tmp_path, paths[6]).planes()
