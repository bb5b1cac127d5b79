"""Vectors of wells, some rows at a time: in memory, in files, or wherever a later class finds them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.logging import progress

Rows = slice | NDArray[np.intp]


class Chunks(Protocol):
    """Vectors of wells that are read in chunks of rows, as often as needed."""

    @property
    def shape(self) -> tuple[int, int]:
        """Wells and features."""

    @property
    def rows(self) -> Sequence[slice]:
        """Rows of each chunk; one after the other they are all wells."""

    def read(self, number: int) -> NDArray:
        """Return the vectors of a chunk, shape (its rows, features)."""


@dataclass(frozen=True)
class ArrayChunks:
    """An array in memory, as one chunk unless ``size`` gives the rows of each."""

    X: NDArray
    size: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Wells and features."""
        return self.X.shape[0], self.X.shape[1]

    @property
    def rows(self) -> Sequence[slice]:
        """Rows of each chunk."""
        wells = len(self.X)
        size = self.size or max(wells, 1)
        return [slice(start, min(start + size, wells)) for start in range(0, wells, size)]

    def read(self, number: int) -> NDArray:
        """Return the vectors of a chunk."""
        return self.X[self.rows[number]]


@dataclass(frozen=True)
class PlateChunks:
    """Plates one after the other, each a chunk that is read when it is its turn.

    Attributes
    ----------
    readers
        Return the vectors of a plate, shape (its wells, features).
    kept
        Which wells of each plate count, shape (its wells,).
    features
        Length of a vector.
    """

    readers: Sequence[Callable[[], NDArray]]
    kept: Sequence[NDArray[np.bool_]]
    features: int

    @property
    def shape(self) -> tuple[int, int]:
        """Wells and features."""
        return sum(int(own.sum()) for own in self.kept), self.features

    @property
    def rows(self) -> Sequence[slice]:
        """Rows of each plate."""
        ends = np.cumsum([0, *(own.sum() for own in self.kept)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def read(self, number: int) -> NDArray:
        """Return the vectors of a plate's wells that count."""
        X, own = self.readers[number](), self.kept[number]
        return X if own.all() else X[own]


@dataclass(frozen=True)
class BatchRows:
    """To which batch each well belongs, and which wells are its negative controls.

    Attributes
    ----------
    names
        Of the batches, sorted, shape (batches,).
    codes
        Number of each well's batch, or -1 for wells that are left out, shape (wells,).
    is_control
        Shape (wells,).
    """

    names: NDArray[np.str_]
    codes: NDArray[np.intp]
    is_control: NDArray[np.bool_]

    @classmethod
    def of(cls, batches: Sequence[str], controls: NDArray[np.bool_]) -> "BatchRows":
        """Group wells by batch."""
        codes, names = pd.factorize(np.asarray(batches, dtype=object), sort=True)
        return cls(np.asarray(names, dtype=str), codes, np.asarray(controls, dtype=bool))

    def without(self, names: NDArray[np.str_]) -> "BatchRows":
        """Return the batches that are not among ``names``; the wells of those that are belong to none."""
        kept = ~np.isin(self.names, names)
        number = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
        return BatchRows(self.names[kept], number[self.codes], self.is_control)

    def controls_only(self) -> "BatchRows":
        """Return the same batches, whose only wells are their controls."""
        return BatchRows(self.names, np.where(self.is_control, self.codes, -1), self.is_control)

    def __getitem__(self, rows: Rows) -> "BatchRows":
        """Return what holds for these wells; all batches stay."""
        return BatchRows(self.names, self.codes[rows], self.is_control[rows])

    def groups(self) -> Iterator[tuple[int, Rows]]:
        """Yield the number of each batch that has wells, and their rows: a slice where they lie together."""
        order = np.argsort(self.codes, kind="stable")
        codes = self.codes[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-2))
        for start, end in zip(starts, np.append(starts[1:], len(codes)), strict=True):
            rows = order[start:end]
            if codes[start] >= 0:
                together = rows[-1] - rows[0] + 1 == len(rows)
                yield int(codes[start]), slice(rows[0], rows[-1] + 1) if together else rows

    @property
    def control_counts(self) -> NDArray[np.intp]:
        """Number of controls of each batch, shape (batches,)."""
        return np.bincount(self.codes[self.is_control & (self.codes >= 0)], minlength=len(self.names))


def walk(chunks: Chunks, batches: BatchRows) -> Iterator[tuple[Rows, NDArray, BatchRows]]:
    """Yield rows, vectors and batches of the wells that belong to a batch; chunks without any are not read."""
    for number, rows in enumerate(progress(chunks.rows, description="alignment: reading", unit="chunk")):
        own = batches[rows]
        belongs = own.codes >= 0
        if not belongs.any():
            continue
        X = chunks.read(number)
        if belongs.all():
            yield rows, X, own
        else:
            some = np.flatnonzero(belongs)
            yield rows.start + some, X[some], own[some]
