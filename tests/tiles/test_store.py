"""The contract of the store on disk: who reads it, what it takes, and that damage is named."""

import shutil

import numpy as np
import pytest
import xarray

from cellmae.errors import DataError
from cellmae.tiles import CropSource, archive_store, open_store
from cellmae.tiles.store import chunk_path

from .conftest import CHANNELS, SyntheticPlate, write_image


@pytest.fixture
def tiled(plate: SyntheticPlate) -> SyntheticPlate:
    plate.tile()
    return plate


@pytest.mark.filterwarnings("error")
def test_xarray_opens_it_without_a_warning(tiled: SyntheticPlate) -> None:
    dataset = xarray.open_zarr(tiled.store)
    assert dataset.images.dims == ("field", "channel", "y", "x")
    assert dataset.images.shape == (6, 2, 48, 56)
    assert dataset.images.dtype == np.uint8
    assert dataset.images.chunks == ((1,) * 6, (2,), (48,), (56,))
    assert dataset.channel.values.tolist() == list(CHANNELS)
    assert dataset.images.well.values.tolist() == tiled.fields["well"].tolist()
    assert dataset.images.site.values.tolist() == tiled.fields["site"].tolist()
    assert set(dataset.attrs["ranges"]) == set(CHANNELS)
    assert dataset.images.sel(channel="er").isel(field=3).mean() > 0


def test_a_field_is_a_plain_file_of_its_pixels(tiled: SyntheticPlate) -> None:
    store = open_store(tiled.store, verify=True)
    for field in range(6):
        assert np.array_equal(store.field(field), store.images[field])
        assert chunk_path(tiled.store, field).stat().st_size == 2 * 48 * 56
    assert isinstance(store.field(0), np.memmap)
    assert not store.field(0).flags.writeable


def test_an_all_black_channel_has_its_bytes_too(plate: SyntheticPlate) -> None:
    for place in range(6):
        shutil.copy(plate.image(0), plate.image(place, "er"))
    plate.tile()
    sizes = [path.stat().st_size for path in plate.store.glob("images/c/*/0/0/0")]
    assert sizes == [2 * 48 * 56] * 6


def test_metadata_is_small(tiled: SyntheticPlate) -> None:
    total = sum(path.stat().st_size for path in tiled.store.rglob("*") if path.is_file())
    assert total - 6 * 2 * 48 * 56 < 32_000


def test_store_says_whose_fields_it_holds(tiled: SyntheticPlate) -> None:
    store = open_store(tiled.store)
    columns = ["plate", "plate_name", "batch", "well", "site", "row", "column"]
    assert store.fields[columns].to_dict("list") == tiled.fields[columns].to_dict("list")
    assert store.fields["field"].tolist() == list(range(6))
    assert (store.shape, store.channels, store.tile_size) == ((6, 2, 48, 56), CHANNELS, 16)


def test_an_altered_field_is_named(tiled: SyntheticPlate) -> None:
    path = chunk_path(tiled.store, 3)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    open_store(tiled.store)
    with pytest.raises(DataError, match=r"1 of 6 fields.*images/c/3/0/0/0 \(A02 site 2\) was altered"):
        open_store(tiled.store, verify=True)


def test_a_cut_and_a_missing_field_are_named_without_verifying(tiled: SyntheticPlate) -> None:
    path = chunk_path(tiled.store, 1)
    path.write_bytes(path.read_bytes()[:-1])
    chunk_path(tiled.store, 4).unlink()
    with pytest.raises(DataError, match=r"c/1/0/0/0 .* has 5375 bytes, expected 5376; images/c/4/0/0/0 .* is missing"):
        open_store(tiled.store)


@pytest.mark.parametrize("name", ["zarr.json", "well/c/0", "images/zarr.json"])
def test_damaged_metadata_is_a_plain_error(tiled: SyntheticPlate, name: str) -> None:
    (tiled.store / name).write_bytes(b"\x00garbage")
    if name == "images/zarr.json":
        open_store(tiled.store)  # the consolidated copy stands in
        return
    with pytest.raises(DataError, match="damaged"):
        open_store(tiled.store)


def test_no_store_is_a_plain_error(tiled: SyntheticPlate) -> None:
    for path in (tiled.root / "absent.zarr", tiled.root / "images"):
        with pytest.raises(DataError, match="holds no store"):
            open_store(path)


def test_an_archived_store_holds_the_same_fields(tiled: SyntheticPlate) -> None:
    before = open_store(tiled.store)
    pixels = before.images.values
    archive_store(tiled.store)
    after = open_store(tiled.store, verify=True)
    assert after.is_archived
    assert not before.is_archived
    assert np.array_equal(after.images.values, pixels)
    assert np.array_equal(after.field(3), pixels[3])
    assert after.digests == before.digests
    assert after.attributes == before.attributes
    assert after.fields.equals(before.fields)
    assert [path.name for path in tiled.store.parent.iterdir() if path.name.startswith(".")] == []
    archive_store(tiled.store)  # once more changes nothing
    assert open_store(tiled.store, verify=True).digests == before.digests


def test_an_archived_store_gives_the_same_crops(tiled: SyntheticPlate) -> None:
    def batch() -> np.ndarray:
        return CropSource([tiled.store], [tiled.table], size=16, crops="random").batch(3, seed=0, batch_size=8)

    before = batch()
    archive_store(tiled.store)
    assert np.array_equal(batch(), before)


def test_an_altered_store_is_not_archived(tiled: SyntheticPlate) -> None:
    with chunk_path(tiled.store, 0).open("r+b") as file:
        file.write(bytes(100))
    with pytest.raises(DataError, match="1 of 6 fields are damaged"):
        archive_store(tiled.store)
    assert not open_store(tiled.store).is_archived


def test_an_archive_of_images_is_smaller(plate: SyntheticPlate) -> None:
    for place in range(6):  # half of each field is black
        for channel in (0, 1):
            plate.pixels[place, channel, 24:] = 100
            write_image(plate.image(place, CHANNELS[channel]), plate.pixels[place, channel])
    plate.tile()
    archive_store(plate.store)
    assert all(chunk_path(plate.store, field).stat().st_size < 0.6 * 2 * 48 * 56 for field in range(6))


@pytest.mark.parametrize("damage", ["delete", "cut", "alter"])
def test_damage_to_an_archive_is_noticed(tiled: SyntheticPlate, damage: str) -> None:
    archive_store(tiled.store)
    path = chunk_path(tiled.store, 2)
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:100] if damage == "cut" else data[:-20] + bytes(20))
    with pytest.raises(DataError, match=r"1 of 6 fields are damaged: images/c/2"):
        open_store(tiled.store, verify=True)


def test_a_deleted_store_says_how_to_get_it_back(tiled: SyntheticPlate) -> None:
    shutil.rmtree(tiled.store)
    with pytest.raises(DataError, match="snakemake restore_tiles"):
        open_store(tiled.store)
