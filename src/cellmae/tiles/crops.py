"""Crops for training, as a pure function of (seed, step, place in the batch), and for embedding, well by well."""

import resource
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.tiles.store import TileStore, open_store
from cellmae.tiles.table import read_tiles

CROPS_PER_FIELD = 4
"""Consecutive crops of a batch that share a field: a crop of a large field touches more of it than it takes."""

MAX_MAPPED_FIELDS = 2**14  # a quarter of the mappings that Linux grants a process


ARCHIVED_FIELDS = 32
"""Decoded fields of archived stores that are kept in memory, where others are only mapped."""


class NoTilesError(DataError):
    """Plates have no tile that may be used."""


class CropSource:
    """The kept tiles of many plates, as batches of crops for training.

    A batch depends on nothing but the arguments of :meth:`batch`, so that training which is interrupted goes
    on exactly, and every rank of a distributed run can make its own part of the batch. Threads may share a
    source.

    Parameters
    ----------
    stores, tables
        Paths of the plates' stores and tile tables, in the same order.
    size
        Edge of the crops in pixels: that of the tiles.
    crops
        ``grid``: the kept tiles themselves; every epoch takes each of them once, in an order of its own, four
        neighbours at a time. ``random``: a kept tile, all of them equally likely, moved in both directions by
        up to half its size and back into the field; four crops in a row come from one field.
    fields
        For each plate, which of its fields may be used, (fields,) bool; all of them by default.
    sources
        How many sources are open at once, which share the fields that a process may map.

    Attributes
    ----------
    n_tiles
        Number of kept tiles.
    channels
        Names of the channels.

    Raises
    ------
    ConfigError
        The tiles are not of this size.
    DataError
        A store or table is missing or damaged, the plates differ in their channels, or (:class:`NoTilesError`) no tile
        was kept.
    """

    def __init__(
        self,
        stores: Sequence[str | Path],
        tables: Sequence[str | Path],
        *,
        size: int,
        crops: Literal["random", "grid"],
        fields: Sequence[np.ndarray] | None = None,
        sources: int = 1,
    ) -> None:
        """Open the stores and read which tiles were kept."""
        if crops not in ("random", "grid"):
            raise ConfigError(f"crops: found '{crops}', expected 'random' or 'grid'")
        if not stores:
            raise DataError("no plates to take crops from: check screen.root and models.*.plates")
        self.size = size
        self.crops = crops
        self._stores = [open_store(store) for store in stores]
        self.channels = self._stores[0].channels
        for store in self._stores:
            _require_alike(store, self.channels, size)
        kept = [_kept_tiles(table) for table in tables]
        if fields is not None:
            kept = [tiles[usable[tiles["field"]]] for tiles, usable in zip(kept, fields, strict=True)]
        counts = [tiles["field"].value_counts(sort=False).sort_index() for tiles in kept]

        # Tiles lie in the order of plates and fields: tile t belongs to the field whose first tile is the last
        # at or before t. This takes 8 bytes a tile, of which a genome-wide screen has 10^8.
        self._y, self._x = (_join(tiles[axis] for tiles in kept).astype(np.int32) for axis in "yx")
        self._first_tile = np.concatenate([[0], _join(counts).cumsum()]).astype(np.int64)
        self._field = _join(count.index for count in counts).astype(np.int32)
        self._store = np.repeat(np.arange(len(counts), dtype=np.int32), [len(count) for count in counts])
        self._extents = np.array([store.shape[2:] for store in self._stores])
        self.n_tiles = int(self._first_tile[-1])
        if not self.n_tiles:
            raise NoTilesError("no tile was kept on any plate: look at the reasons in the tile tables")

        # A mapping holds a file descriptor; mapping a field anew takes longer than copying a crop from it.
        kept_fields = ARCHIVED_FIELDS if any(store.is_archived for store in self._stores) else _mappable_fields()
        self._pixels = lru_cache(max(1, kept_fields // sources))(self._map)
        self._grid_order = lru_cache(2)(self._shuffle)

    def batch(
        self,
        step: int,
        *,
        seed: int,
        batch_size: int,
        start: int = 0,
        stop: int | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Make the batch of a training step, or a rank's part of it.

        Parameters
        ----------
        step
            Number of the step, from 0.
        seed
            Seed of the run.
        batch_size
            Crops in the whole batch, over all ranks.
        start, stop
            First crop of the part, and the one after its last; the whole batch by default.
        out
            Array to fill, of the shape that is returned.

        Returns
        -------
        Array (stop - start, channels, size, size) uint8.
        """
        places, y, x = self.corners(step, seed=seed, batch_size=batch_size, start=start, stop=stop)
        if out is None:
            out = np.empty((len(places), len(self.channels), self.size, self.size), np.uint8)
        for crop, place, top, left in zip(out, places.tolist(), y.tolist(), x.tolist(), strict=True):
            crop[...] = self._pixels(place)[:, top : top + self.size, left : left + self.size]
        return out

    def corners(
        self, step: int, *, seed: int, batch_size: int, start: int = 0, stop: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Say where the crops of :meth:`batch` lie.

        Returns
        -------
        Three arrays (stop - start,): the field, counted over the fields of all plates that have kept tiles;
        the first row; the first column.
        """
        stop = batch_size if stop is None else stop
        if not 0 <= start <= stop <= batch_size:
            raise ValueError(f"found the part {start} to {stop}, expected one within a batch of {batch_size}")
        if self.crops == "random":
            return self._random_corners(step, seed, start, stop)
        return self._grid_corners(step * batch_size + np.arange(start, stop), seed)

    def of_fields(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Arrange one value a field of each plate, (fields,), as :meth:`corners` counts fields."""
        return np.array([values[store][field] for store, field in zip(self._store.tolist(), self._field, strict=True)])

    def _random_corners(self, step: int, seed: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # One row of numbers a group, drawn from the first group on: where the part starts changes nothing.
        groups = -(-stop // CROPS_PER_FIELD)
        rows = np.random.default_rng((seed, step)).random((groups, 1 + 3 * CROPS_PER_FIELD))
        anchor = (rows[:, 0] * self.n_tiles).astype(np.int64)
        place = np.searchsorted(self._first_tile, anchor, side="right") - 1
        first = self._first_tile[place]
        count = self._first_tile[place + 1] - first

        # From a uniformly drawn tile on, once around the field in four strata: each tile is still equally
        # likely, and the four lie apart.
        within, down, across = rows[:, 1:].reshape(groups, 3, CROPS_PER_FIELD).transpose(1, 0, 2)
        stride = (np.arange(CROPS_PER_FIELD) + within) / CROPS_PER_FIELD
        turn = (stride * count[:, np.newaxis]).astype(np.int64)
        tile = first[:, np.newaxis] + ((anchor - first)[:, np.newaxis] + turn) % count[:, np.newaxis]

        places = np.repeat(place, CROPS_PER_FIELD)[start:stop]
        tiles = tile.ravel()[start:stop]
        heights, widths = self._extents[self._store[places]].T
        y = self._jitter(self._y[tiles], down.ravel()[start:stop], heights)
        x = self._jitter(self._x[tiles], across.ravel()[start:stop], widths)
        return places, y, x

    def _jitter(self, corner: np.ndarray, uniform: np.ndarray, extent: np.ndarray) -> np.ndarray:
        shift = (uniform * (self.size + 1)).astype(np.int64) - self.size // 2
        return (corner + shift).clip(0, extent - self.size)

    def _grid_corners(self, samples: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        epochs, position = np.divmod(samples, self.n_tiles)
        tiles = np.empty(len(samples), np.int64)
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            tiles[now] = self._grid_order(seed, epoch)[position[now]]
        places = np.searchsorted(self._first_tile, tiles, side="right") - 1
        return places, self._y[tiles].astype(np.int64), self._x[tiles].astype(np.int64)

    def _shuffle(self, seed: int, epoch: int) -> np.ndarray:
        """Order of the tiles in an epoch: groups of neighbours are shuffled, not single tiles."""
        groups = np.random.default_rng((seed, epoch)).permutation(-(-self.n_tiles // CROPS_PER_FIELD))
        order = (groups[:, np.newaxis] * CROPS_PER_FIELD + np.arange(CROPS_PER_FIELD)).ravel()
        return order[order < self.n_tiles]

    def _map(self, place: int) -> np.ndarray:
        pixels = self._stores[self._store[place]].field(int(self._field[place]))
        return np.asarray(pixels)  # slices of a plain array are cheaper than those of a memmap


def grid_crops(store: TileStore, tiles: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the kept tiles of a plate well by well, in the order of the tile table.

    Parameters
    ----------
    store
        The plate's store.
    tiles
        The plate's tile table; a well without kept tiles does not appear.

    Yields
    ------
    The well, and its crops (tiles, channels, size, size) uint8.
    """
    size = store.tile_size
    for well, group in tiles[tiles["keep"]].groupby("well", sort=False):
        crops = np.empty((len(group), len(store.channels), size, size), np.uint8)
        corners = zip(group["field"].tolist(), group["y"].tolist(), group["x"].tolist(), strict=True)
        mapped, pixels = -1, np.empty(0, np.uint8)
        for crop, (field, y, x) in zip(crops, corners, strict=True):
            if field != mapped:
                mapped, pixels = field, store.checked_field(field)
            crop[...] = pixels[:, y : y + size, x : x + size]
        yield str(well), crops


def _require_alike(store: TileStore, channels: tuple[str, ...], size: int) -> None:
    if store.channels != channels:
        raise DataError(
            f"{store.path} has the channels {', '.join(store.channels)}, expected {', '.join(channels)} as on "
            "the first plate: tile all plates with the same screen.channels"
        )
    if store.tile_size != size:
        raise ConfigError(
            f"tiles.size: {store.path} holds tiles of {store.tile_size} pixels, expected {size}: tile the plates again"
        )


def _mappable_fields() -> int:
    """Return how many fields may be mapped at once; the process takes as many file descriptors as it is granted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = 2 * MAX_MAPPED_FIELDS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_MAPPED_FIELDS)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return granted // 2


def _kept_tiles(table: str | Path) -> pd.DataFrame:
    tiles = read_tiles(table)
    return tiles.loc[tiles["keep"], ["field", "y", "x"]].sort_values(["field", "y", "x"])


def _join(parts: Iterable[pd.Series | pd.Index]) -> np.ndarray:
    return np.concatenate([np.asarray(part) for part in parts])
