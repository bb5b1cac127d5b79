"""Batches of training: crops of all plates, or of one batch of plates at a time, with or without labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cellmae.errors import DataError
from cellmae.logging import logger
from cellmae.tiles import CropSource
from cellmae.tiles.crops import NoTilesError

GROUP_STREAM = 7  # keeps the choice of the group apart from that of the crops


class TrainingCrops:
    """Crops of plates in groups; every batch comes from one group.

    With one group that is nothing but a :class:`cellmae.tiles.CropSource`. With a group an experimental batch, batch
    normalisation sees the statistics of one experimental batch at a time, as AdaBN wants it.

    Parameters
    ----------
    groups
        Stores and tile tables of the plates of each group.
    size, crops
        As for :class:`cellmae.tiles.CropSource`.
    labels
        Class of each field of each plate, in the order of groups and plates; -1 leaves a field's crops out.
    steps, seed
        Steps of the training and its seed, which choose the groups, each as often as it has tiles.

    Raises
    ------
    DataError
        The plates differ in their channels, or (:class:`cellmae.tiles.crops.NoTilesError`) no group has tiles; a single
        group without any is left out with a warning.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[Path], Sequence[Path]]],
        *,
        size: int,
        crops: Literal["random", "grid"],
        labels: Sequence[Sequence[np.ndarray]] | None = None,
        steps: int,
        seed: int,
    ) -> None:
        kept: Sequence[Sequence[np.ndarray] | None] = [None] * len(groups)
        if labels is not None:
            kept = [[classes >= 0 for classes in plates] for plates in labels]
        self._sources: list[CropSource] = []
        self._labels: list[np.ndarray] | None = None if labels is None else []
        for number, ((stores, tables), fields) in enumerate(zip(groups, kept, strict=True)):
            try:
                source = CropSource(stores, tables, size=size, crops=crops, fields=fields, sources=len(groups))
            except NoTilesError as error:
                logger.warning("%s and %d more: %s", stores[0].stem, len(stores) - 1, error)
                continue
            self._sources.append(source)
            if self._labels is not None and labels is not None:
                self._labels.append(source.of_fields(labels[number]))
        if not self._sources:
            raise NoTilesError("no tile was kept on any plate, or none of a known perturbation: see the tile tables")
        first = self._sources[0]
        for source in self._sources:
            if source.channels != first.channels:
                raise DataError("the plates differ in their channels: tile them with the same screen.channels")
        self.channels, self.size = first.channels, first.size
        counts = np.array([source.n_tiles for source in self._sources])
        self.n_tiles = int(counts.sum())
        chance = np.random.default_rng((seed, GROUP_STREAM))
        self._group = chance.choice(len(counts), size=steps, p=counts / counts.sum())
        # The place of a step among those of its group: on the grid of tiles, a group's epochs go on without a gap.
        self._turn = np.empty(steps, np.int64)
        for group in range(len(counts)):
            mine = self._group == group
            self._turn[mine] = np.arange(np.count_nonzero(mine))

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
        """Make the batch of a step, or a rank's part of it: as :meth:`cellmae.tiles.CropSource.batch`."""
        source, turn = self._at(step)
        return source.batch(turn, seed=seed, batch_size=batch_size, start=start, stop=stop, out=out)

    def labels(
        self, step: int, *, seed: int, batch_size: int, start: int = 0, stop: int | None = None
    ) -> np.ndarray | None:
        """Return the classes (stop - start,) int64 of the crops of :meth:`batch`; None where there are none."""
        if self._labels is None:
            return None
        source, turn = self._at(step)
        fields, _, _ = source.corners(turn, seed=seed, batch_size=batch_size, start=start, stop=stop)
        return self._labels[self._group_of(step)][fields]

    def _group_of(self, step: int) -> int:
        return int(self._group[step % len(self._group)])

    def _at(self, step: int) -> tuple[CropSource, int]:
        # Beyond the training, for crops that it has not seen: the groups come round again.
        rounds, within = divmod(step, len(self._group))
        group = int(self._group[within])
        turns = int(np.count_nonzero(self._group == group))
        return self._sources[group], int(self._turn[within]) + rounds * turns
