"""Tiling a plate: values against a plain computation, and every kind of bad field."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from cellmae.errors import ConfigError, DataError
from cellmae.files import read_manifest
from cellmae.tiles import VERSION, open_store, read_tiles
from cellmae.tiles.quality import LOW_CONTRAST

from .conftest import CHANNELS, PlateMaker, SyntheticPlate, write_image


def dropped(plate: SyntheticPlate) -> dict[str, str]:
    """Reasons by field, which table and manifest must give alike."""
    listed = read_manifest(plate.manifest, stage="tiles")["dropped"]
    tiles = read_tiles(plate.table)
    lost = tiles[tiles["field"] == -1]
    assert lost[["well", "site", "reason"]].to_dict("records") == listed
    assert not lost["keep"].any()
    assert (lost[["y", "x"]] == -1).all(axis=None)
    assert lost.filter(regex="^(mean|sd|focus)_|^saturated|^foreground").isna().all(axis=None)
    return {f"{item['well']} site {item['site']}": item["reason"] for item in listed}


def test_pixels_and_measures_equal_the_plain_computation(plate: SyntheticPlate) -> None:
    plate.tile()
    store, tiles = open_store(plate.store, verify=True), read_tiles(plate.table)
    scaled = np.empty(plate.pixels.shape)
    for channel in range(2):
        pixels = plate.pixels[:, channel].astype(np.float64)
        low, high = np.percentile(pixels, [0.1, 99.9])
        scaled[:, channel] = np.clip((pixels - low) / (high - low), 0, 1) * 255
    assert np.abs(store.images.values - scaled).max() < 0.501

    assert len(tiles) == 6 * 3 * 3
    assert tiles["keep"].all()
    for row in tiles.sample(10, random_state=0).itertuples():
        window = store.images.values[row.field, :, row.y : row.y + 16, row.x : row.x + 16].astype(float)
        assert row.mean_nuclei == pytest.approx(window[0].mean(), rel=1e-5)
        assert row.sd_er == pytest.approx(window[1].std(), rel=1e-5)
        assert (row.well, row.site) == tuple(plate.fields.loc[row.field, ["well", "site"]])
    field = store.images.values[2, 1, :, 4:52].astype(float)
    focus = ndimage.laplace(field, mode="nearest")[16:32, 16:32].var()
    middle = tiles.query("field == 2 and y == 16 and x == 20")
    assert middle["focus_er"].item() == pytest.approx(focus, rel=1e-5)


def test_manifest_tells_what_there_is(plate: SyntheticPlate) -> None:
    plate.tile()
    manifest = read_manifest(plate.manifest, stage="tiles")
    assert manifest["version"] == VERSION
    assert (manifest["fields"], manifest["tiles"], manifest["kept"]) == (6, 54, 54)
    assert manifest["shape"] == [6, 2, 48, 56]
    assert list(manifest["ranges"]) == list(CHANNELS)
    assert manifest["rejected"] == {}
    assert manifest["dropped"] == []


def test_result_does_not_depend_on_threads_or_repetition(plate: SyntheticPlate) -> None:
    seen = set()
    for threads in (1, 2, 3, 2):
        plate.tile(threads=threads)
        seen.add((plate.manifest.read_bytes(), plate.table.read_bytes(), (plate.store / "zarr.json").read_bytes()))
    assert len(seen) == 1
    assert sorted(path.name for path in plate.store.parent.iterdir()) == ["p.json", "p.parquet", "p.zarr"]


@pytest.mark.parametrize("change", ["pixel", "threshold", "range", "channel names"])
def test_digest_follows_content(plate: SyntheticPlate, change: str) -> None:
    plate.tile()
    before = read_manifest(plate.manifest, stage="tiles")["digest"]
    changes: dict[str, object] = {}
    if change == "pixel":
        plate.pixels[0, 0, 10, 10] ^= 2048
        write_image(plate.image(0), plate.pixels[0, 0])
    elif change == "threshold":
        changes["min_contrast"] = 200.0
    elif change == "range":
        changes["range_percentiles"] = [1.0, 99.0]
    else:
        plate.fields = plate.fields.rename(columns={"path_er": "path_er2"})
        changes["channels"] = ["nuclei", "er2"]
    plate.tile(**changes)
    assert read_manifest(plate.manifest, stage="tiles")["digest"] != before


def test_one_file_with_all_channels_gives_the_same_store(plate: SyntheticPlate, make_plate: PlateMaker) -> None:
    plate.tile()
    joined = make_plate(name="joined")
    for place, pixels in enumerate(joined.pixels):
        tifffile.imwrite(joined.root / "images" / f"{place}.tif", pixels, photometric="minisblack")
    joined.fields["path"] = [f"{place}.tif" for place in range(6)]
    joined.tile()
    assert open_store(joined.store).digests == open_store(plate.store).digests


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_other_pixel_types(make_plate: PlateMaker, dtype: str) -> None:
    plate = make_plate(suffix=".tif")
    for place, channel in itertools.product(range(6), (0, 1)):
        write_image(plate.image(place, CHANNELS[channel]), (plate.pixels[place, channel] // 16).astype(dtype))
    plate.tile()
    images = open_store(plate.store).images
    assert images.dtype == np.uint8
    assert (int(images.min()), int(images.max())) == (0, 255)


def test_a_given_range_takes_the_place_of_percentiles(plate: SyntheticPlate) -> None:
    plate.tile(ranges={"er": [500, 1500]})
    store = open_store(plate.store)
    assert store.attributes["ranges"]["er"] == [500.0, 1500.0]
    assert store.attributes["ranges"]["nuclei"] != [500.0, 1500.0]
    expected = np.rint((plate.pixels[:, 1].astype(float) - 500).clip(0, 1000) * 0.255)
    assert np.abs(store.images.values[:, 1] - expected).max() <= 1  # single precision may round a half the other way
    assert (store.images.values[:, 1] == expected).mean() > 0.999


def damage(plate: SyntheticPlate, kind: str) -> None:
    """Spoil the field A02 site 1 (place 2)."""
    path = plate.image(2, "er")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "vanished":
        path.unlink()
    elif kind == "no path":
        plate.fields.loc[2, "path_er"] = None
    elif kind == "shape":
        write_image(path, plate.pixels[2, 1, :40])
    elif kind == "shape of all channels":
        for channel in (0, 1):
            write_image(plate.image(2, CHANNELS[channel]), plate.pixels[2, channel, :40])
    elif kind == "dtype":
        write_image(path, plate.pixels[2, 1].astype(np.uint8))
    elif kind == "RGB":
        write_image(path, np.stack([plate.pixels[2, 1]] * 3, axis=-1))
    elif kind == "flat":
        write_image(path, np.full_like(plate.pixels[2, 1], 7))
    elif kind == "stack":
        tifffile.imwrite(path, plate.pixels[2], photometric="minisblack")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "er: truncated or damaged"),
        ("zero bytes", "er: file is empty"),
        ("vanished", "er: file is missing"),
        ("no path", "er: no file"),
        ("shape", "er: 40 x 56 uint16, expected 48 x 56 uint16"),
        ("shape of all channels", "40 x 56 uint16, the plate has 48 x 56 uint16"),
        ("dtype", "er: 48 x 56 uint8, expected 48 x 56 uint16"),
        ("RGB", "er: an RGB picture, expected one grey plane"),
        ("flat", "er: flat, every pixel is 7"),
        ("stack", "er: 2 planes of 48 x 56 uint16, expected 48 x 56 uint16"),
    ],
)
def test_a_bad_field_is_dropped_with_its_reason(plate: SyntheticPlate, kind: str, reason: str) -> None:
    damage(plate, kind)
    plate.tile(max_lost_share=0.2)
    found = dropped(plate)
    assert list(found) == ["A02 site 1"]
    assert found["A02 site 1"].startswith(reason)
    store = open_store(plate.store, verify=True)
    assert store.fields["site"].tolist() == [1, 2, 2, 1, 2]  # no gap where the field was
    assert sorted(path.name for path in (plate.store / "images" / "c").iterdir()) == list("01234")


def test_a_bad_field_changes_no_pixel_of_the_others(plate: SyntheticPlate, make_plate: PlateMaker) -> None:
    damage(plate, "flat")
    plate.tile()
    without = make_plate(name="without")
    without.fields = without.fields.drop(index=2)
    without.tile()
    assert open_store(plate.store).digests == open_store(without.store).digests


def test_too_many_lost_fields_fail_and_leave_nothing(plate: SyntheticPlate) -> None:
    for place in (1, 4):
        plate.image(place).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"plate p: 2 of 6 fields \(33%\).*allows 30%.*A01 site 2: nuclei: file is empty"
    ):
        plate.tile(max_lost_share=0.3)
    assert not list((plate.root).glob("tiles/*"))
    plate.tile(max_lost_share=0.34)


def test_fields_lost_in_the_second_pass_count_too(plate: SyntheticPlate) -> None:
    damage(plate, "truncated")
    with pytest.raises(DataError, match="1 of 6 fields"):
        plate.tile(max_lost_share=0.1)
    assert not list((plate.root / "tiles").iterdir())


def test_a_plate_on_which_every_field_has_a_flat_plane_fails(plate: SyntheticPlate) -> None:
    for place in range(6):
        write_image(plate.image(place, CHANNELS[place % 2]), np.zeros((48, 56), np.uint16))
    with pytest.raises(DataError, match=r"6 of 6 fields.*flat in a channel in which other fields are not"):
        plate.tile(max_lost_share=1.0)


@pytest.mark.parametrize("max_lost_share", [0.05, 1.0])
def test_a_black_plate_fails(plate: SyntheticPlate, max_lost_share: float) -> None:
    for place, channel in itertools.product(range(6), CHANNELS):
        write_image(plate.image(place, channel), np.zeros((48, 56), np.uint16))
    with pytest.raises(DataError, match=r"6 of 6 fields \(100%\).*flat in every channel"):
        plate.tile(max_lost_share=max_lost_share)


def test_a_plate_without_any_readable_file_fails(plate: SyntheticPlate) -> None:
    for place, channel in itertools.product(range(6), CHANNELS):
        plate.image(place, channel).unlink()
    with pytest.raises(DataError, match=r"6 of 6 fields.*nuclei: file is missing"):
        plate.tile(max_lost_share=1.0)


@pytest.mark.parametrize("offset", [0, 1])
def test_a_channel_that_is_flat_on_the_whole_plate_is_harmless(plate: SyntheticPlate, offset: int) -> None:
    for place in range(6):
        write_image(plate.image(place, "er"), np.full((48, 56), 90 + offset * place, np.uint16))
    plate.tile()
    tiles = read_tiles(plate.table)
    assert tiles["keep"].all()
    assert not tiles["mean_er"].any()
    low, high = open_store(plate.store).attributes["ranges"]["er"]
    assert low == high


def test_tiles_with_an_empty_channel_are_not_kept(plate: SyntheticPlate) -> None:
    plate.pixels[4, 1, 16:32, 20:36] = 100
    write_image(plate.image(4, "er"), plate.pixels[4, 1])
    plate.tile()
    tiles = read_tiles(plate.table)
    rejected = tiles[~tiles["keep"]]
    assert rejected[["field", "y", "x", "reason"]].values.tolist() == [[4, 16, 20, LOW_CONTRAST]]
    assert read_manifest(plate.manifest, stage="tiles")["rejected"] == {LOW_CONTRAST: 1}


def test_tile_larger_than_the_field(plate: SyntheticPlate) -> None:
    with pytest.raises(ConfigError, match=r"tiles\.size: 49 is larger"):
        plate.tile(size=49)


def test_empty_plate_fails(plate: SyntheticPlate) -> None:
    with pytest.raises(DataError, match="empty"):
        plate.tile(fields=plate.fields.iloc[:0])


def test_field_table_without_a_channel_fails(plate: SyntheticPlate) -> None:
    with pytest.raises(DataError, match="lacks the columns path_actin"):
        plate.tile(channels=[*CHANNELS, "actin"])


def test_tile_table_that_is_none_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        read_tiles(tmp_path / "absent.parquet")
    (tmp_path / "a.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no tile table"):
        read_tiles(tmp_path / "a.parquet")


def test_memory_does_not_grow_with_the_plate(make_plate: PlateMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time are more fields decoded at once than there are threads."""
    import threading

    from cellmae.tiles import tiling

    under_way, most, lock = 0, 0, threading.Lock()
    write = tiling.StoreWriter.write

    def counted(self: tiling.StoreWriter, place: int, field: np.ndarray) -> str:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return write(self, place, field)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(tiling.StoreWriter, "write", counted)
    make_plate(fields=40).tile(threads=2)
    assert 1 <= most <= 2


def test_absolute_paths_and_tables_read_from_parquet(plate: SyntheticPlate, tmp_path: Path) -> None:
    for channel in CHANNELS:
        plate.fields[f"path_{channel}"] = [str(plate.image(place, channel)) for place in range(6)]
    plate.fields.to_parquet(tmp_path / "fields.parquet")
    plate.tile(fields=pd.read_parquet(tmp_path / "fields.parquet"), root=Path("elsewhere"))
    assert read_manifest(plate.manifest, stage="tiles")["fields"] == 6
