"""Crops: the right pixels, a pure function of seed, step and place, and a fair draw."""

import itertools
from collections import Counter

import numpy as np
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.tiles import CropSource, grid_crops, open_store, read_tiles
from cellmae.tiles.crops import CROPS_PER_FIELD

from .conftest import CHANNELS, PlateMaker, SyntheticPlate


@pytest.fixture
def plates(make_plate: PlateMaker) -> list[SyntheticPlate]:
    """Two plates whose fields differ in shape; some tiles are not kept."""
    plates = [make_plate(name="a"), make_plate(name="b", fields=4, shape=(35, 70), seed=1)]
    for plate in plates:
        plate.tile()
        tiles = read_tiles(plate.table)
        tiles.loc[::7, "keep"] = False
        tiles.to_parquet(plate.table)
    return plates


def source(plates: list[SyntheticPlate], crops: str) -> CropSource:
    return CropSource([plate.store for plate in plates], [plate.table for plate in plates], size=16, crops=crops)


def kept(plates: list[SyntheticPlate]) -> list[tuple[int, int, int, int]]:
    """(plate, field, y, x) of every kept tile."""
    return [
        (number, *row)
        for number, plate in enumerate(plates)
        for row in read_tiles(plate.table).query("keep")[["field", "y", "x"]].itertuples(index=False, name=None)
    ]


def pixels(plates: list[SyntheticPlate], where: tuple[int, int, int, int]) -> np.ndarray:
    plate, field, y, x = where
    return np.asarray(open_store(plates[plate].store).field(field)[:, y : y + 16, x : x + 16])


@pytest.mark.parametrize("crops", ["random", "grid"])
def test_batches_are_a_pure_function(plates: list[SyntheticPlate], crops: str) -> None:
    first, second = source(plates, crops), source(plates, crops)
    later = second.batch(5, seed=3, batch_size=30)  # without steps 0 to 4 before it
    for step in range(5):
        first.batch(step, seed=3, batch_size=30)
    assert np.array_equal(first.batch(5, seed=3, batch_size=30), later)
    assert not np.array_equal(first.batch(6, seed=3, batch_size=30), later)
    assert not np.array_equal(first.batch(5, seed=4, batch_size=30), later)
    assert later.shape == (30, 2, 16, 16)
    assert later.dtype == np.uint8


@pytest.mark.parametrize("crops", ["random", "grid"])
@pytest.mark.parametrize("cuts", [(0, 15, 30), (0, 7, 8, 30), (0, 0, 30)])
def test_ranks_make_parts_of_the_same_batch(plates: list[SyntheticPlate], crops: str, cuts: tuple[int, ...]) -> None:
    crop_source = source(plates, crops)
    whole = crop_source.batch(2, seed=0, batch_size=30)
    parts = [
        crop_source.batch(2, seed=0, batch_size=30, start=start, stop=stop) for start, stop in itertools.pairwise(cuts)
    ]
    assert np.array_equal(np.concatenate(parts), whole)


def test_out_is_filled(plates: list[SyntheticPlate]) -> None:
    crop_source = source(plates, "random")
    out = np.zeros((30, 2, 16, 16), np.uint8)
    assert crop_source.batch(1, seed=0, batch_size=30, out=out) is out
    assert np.array_equal(out, crop_source.batch(1, seed=0, batch_size=30))


def test_grid_takes_every_kept_tile_once_an_epoch(plates: list[SyntheticPlate]) -> None:
    crop_source = source(plates, "grid")
    expected = Counter(pixels(plates, where).tobytes() for where in kept(plates))
    count = crop_source.n_tiles
    assert count == len(kept(plates)) == expected.total()
    # A batch size that does not divide the number of tiles: batches run over the end of an epoch.
    stream = np.concatenate([crop_source.batch(step, seed=0, batch_size=10) for step in range(3 * count // 10)])
    orders = [stream[:count], stream[count : 2 * count]]
    for epoch in orders:
        assert Counter(crop.tobytes() for crop in epoch) == expected
    assert not np.array_equal(*orders)


def test_random_crops_stay_near_a_kept_tile_and_inside_the_field(plates: list[SyntheticPlate]) -> None:
    crop_source = source(plates, "random")
    fields = sorted({where[:2] for where in kept(plates)})
    corners = {field: np.array([where[2:] for where in kept(plates) if where[:2] == field]) for field in fields}
    shapes = [open_store(plate.store).shape[2:] for plate in plates]
    batch = crop_source.batch(0, seed=0, batch_size=120)
    for crop, place, y, x in zip(batch, *crop_source.corners(0, seed=0, batch_size=120), strict=True):
        plate, field = fields[place]
        height, width = shapes[plate]
        assert 0 <= y <= height - 16
        assert 0 <= x <= width - 16
        assert (abs(corners[fields[place]] - [y, x]).max(axis=1) <= 8).any()
        assert np.array_equal(crop, pixels(plates, (plate, field, int(y), int(x))))


def test_random_crops_draw_every_tile_alike(make_plate: PlateMaker) -> None:
    """Fields with few kept tiles do not show up more often than their tiles deserve."""
    plate = make_plate(fields=2)
    plate.tile()
    tiles = read_tiles(plate.table)
    tiles.loc[(tiles["field"] == 0) & (tiles["y"] > 0), "keep"] = False  # 3 tiles against 9
    tiles.to_parquet(plate.table)
    crop_source = source([plate], "random")
    places, y, _ = (
        np.concatenate(part)
        for part in zip(*(crop_source.corners(step, seed=0, batch_size=4000) for step in range(5)), strict=True)
    )
    assert (places == 0).mean() == pytest.approx(3 / 12, abs=0.02)
    # Rows of tiles at 0, 16 and 32, each moved by -8 to 8 and back into the field: each third gets its share.
    edges = np.histogram(y[places == 1], bins=[0, 1, 33])[0] / (places == 1).sum()
    assert edges[0] == pytest.approx((1 / 3) * (9 / 17), abs=0.02)


def test_neighbours_in_a_random_batch_share_their_field(plates: list[SyntheticPlate]) -> None:
    places, y, x = source(plates, "random").corners(0, seed=0, batch_size=40)
    groups = places.reshape(-1, CROPS_PER_FIELD)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0])) > 3
    assert len(set(zip(places.tolist(), y.tolist(), x.tolist(), strict=True))) > 35


def test_grid_crops_go_well_by_well(plates: list[SyntheticPlate]) -> None:
    plate = plates[0]
    store, tiles = open_store(plate.store), read_tiles(plate.table)
    wells = dict(grid_crops(store, tiles))
    assert list(wells) == ["A01", "A02", "A03"]
    for well, crops in wells.items():
        rows = tiles[tiles["keep"] & (tiles["well"] == well)]
        expected = [pixels(plates, (0, row.field, row.y, row.x)) for row in rows.itertuples()]
        assert np.array_equal(crops, expected)
    tiles.loc[tiles["well"] == "A02", "keep"] = False
    assert list(dict(grid_crops(store, tiles))) == ["A01", "A03"]


def test_errors_name_what_is_wrong(plates: list[SyntheticPlate], make_plate: PlateMaker) -> None:
    with pytest.raises(ConfigError, match=r"tiles\.size: .* tiles of 16 pixels, expected 32"):
        CropSource([plates[0].store], [plates[0].table], size=32, crops="grid")
    with pytest.raises(ConfigError, match="expected 'random' or 'grid'"):
        source(plates, "rnadom")
    with pytest.raises(DataError, match="no plates"):
        source([], "grid")
    reversed_plate = make_plate(name="c")
    reversed_plate.tile(channels=CHANNELS[::-1])
    with pytest.raises(DataError, match="has the channels er, nuclei, expected nuclei, er"):
        source([plates[0], reversed_plate], "grid")
    with pytest.raises(ValueError, match="within a batch of 8"):
        source(plates, "grid").batch(0, seed=0, batch_size=8, start=4, stop=9)


def test_no_kept_tile_is_an_error(plate: SyntheticPlate) -> None:
    plate.tile(min_contrast=500.0)
    with pytest.raises(DataError, match="no tile was kept"):
        source([plate], "random")


def test_plate_without_kept_tiles_among_others(plates: list[SyntheticPlate]) -> None:
    tiles = read_tiles(plates[0].table)
    tiles.assign(keep=False).to_parquet(plates[0].table)
    crop_source = source(plates, "grid")
    assert crop_source.n_tiles == len(kept([plates[1]]))
    first = crop_source.batch(0, seed=0, batch_size=1)[0]
    assert any(np.array_equal(first, pixels(plates, where)) for where in kept(plates))
