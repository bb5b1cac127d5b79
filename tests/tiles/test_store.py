"""The contract of the store on disk: who reads it, what it takes, and that damage is named."""

import shutil

import numpy as np
import pytest
import xarray

from cellmae.errors import DataError
from cellmae.tiles import open_store
from cellmae.tiles.store import chunk_path

from .conftest import CHANNELS, SyntheticPlate


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
