"""Random crops from a tile store: our reader against zarr-python, tensorstore and a torch DataLoader.

All read the same crops of the same store, in the order in which training takes them: four in a row from one field. The
peers read a crop at a time, or a field at a time and cut its crops out of it. What counts is crops a CPU-second, the
CPU time of all threads and worker processes: it is what feeding a GPU costs, and neighbours on the machine do not
change it. Warm: the store lies in the page cache. Cold: before every turn the files are synced and dropped from it by
posix_fadvise(DONTNEED), which asks the kernel and does not reach caches below it; readers are opened anew.
"""

import argparse
import ctypes
import gc
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset

from cellmae.tiles import CropSource, prefetch
from cellmae.tiles.crops import CROPS_PER_FIELD
from plates import CHANNELS, TiledPlate, tile_noise
from timing import Contestant, Row, Turn, ratio, report, speed, take_turns

SEED = 0
MAX_CACHED_SHARE = 0.01  # of a cold store
TARGET_WARM = 8_000.0  # crops a CPU-second
TARGET_RATIO = 2.5  # to the best of the others

LIBC = ctypes.CDLL(None, use_errno=True)
Batches = Iterable[np.ndarray | torch.Tensor]
CPU = torch.device("cpu")


class Corner(NamedTuple):
    """Where a crop lies."""

    field: int
    y: int
    x: int


class Task(NamedTuple):
    """What all readers do: the batches of some steps.

    Attributes
    ----------
    plate
        The store and its tile table.
    size, batch_size, steps
        Edge of a crop, crops in a batch, batches in a pass.
    workers
        Threads, or worker processes, of the readers that have such.
    """

    plate: TiledPlate
    size: int
    batch_size: int
    steps: int
    workers: int

    def source(self) -> CropSource:
        return CropSource([self.plate.store], [self.plate.table], size=self.size, crops="random")

    def batches(self) -> list[list[Corner]]:
        """Return the corners of a pass; every field has kept tiles, so that places are fields."""
        source = self.source()
        steps = (source.corners(step, seed=SEED, batch_size=self.batch_size) for step in range(self.steps))
        return [[Corner(*map(int, corner)) for corner in zip(*corners, strict=True)] for corners in steps]


def our_batches(task: Task) -> Callable[[], Batches]:
    source = task.source()
    out = np.empty((task.batch_size, len(source.channels), task.size, task.size), np.uint8)

    def read() -> Iterator[np.ndarray]:
        for step in range(task.steps):
            yield source.batch(step, seed=SEED, batch_size=task.batch_size, out=out)

    return read


def our_prefetch(task: Task) -> Callable[[], Batches]:
    source = task.source()

    def read() -> Iterator[np.ndarray]:
        steps = range(task.steps)
        with closing(prefetch(source, steps, seed=SEED, batch_size=task.batch_size, threads=task.workers)) as batches:
            yield from batches

    return read


def crop_by_crop(open_images: Callable[[Path], Any]) -> Callable[[Task], Callable[[], Batches]]:
    """Return a reader that asks for every crop of an array (field, channel, y, x)."""

    def reader(task: Task) -> Callable[[], Batches]:
        images, corners, size = open_images(task.plate.store), task.batches(), task.size

        def read() -> Iterator[np.ndarray]:
            for batch in corners:
                yield np.stack([np.asarray(images[f, :, y : y + size, x : x + size]) for f, y, x in batch])

        return read

    return reader


def field_by_field(open_images: Callable[[Path], Any]) -> Callable[[Task], Callable[[], Batches]]:
    """Return a reader that asks for whole fields and cuts the crops that are next to each other in a batch."""

    def reader(task: Task) -> Callable[[], Batches]:
        images, corners, size = open_images(task.plate.store), task.batches(), task.size

        def read() -> Iterator[np.ndarray]:
            for batch in corners:
                crops = []
                for field, group in groupby(batch, key=itemgetter(0)):
                    pixels = np.asarray(images[field])
                    crops += [pixels[:, y : y + size, x : x + size] for _, y, x in group]
                yield np.stack(crops)

        return read

    return reader


def open_zarr(store: Path) -> zarr.Array:
    return zarr.open_array(store / "images", mode="r")


class _Fields:
    """A tensorstore that reads when it is indexed, as zarr does."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.images[key].read().result()


def open_tensorstore(store: Path) -> _Fields:
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / "images")}}
    return _Fields(tensorstore.open(spec, read=True).result())


class ZarrCrops(Dataset):
    """The crops of a pass, one at a time."""

    def __init__(self, store: Path, corners: Sequence[Corner], size: int) -> None:
        self.store, self.corners, self.size = store, corners, size
        self.images: zarr.Array | None = None

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, item: int) -> np.ndarray:
        if self.images is None:  # in the worker
            self.images = open_zarr(self.store)
        field, y, x = self.corners[item]
        return np.asarray(self.images[field, :, y : y + self.size, x : x + self.size])


def data_loader(task: Task) -> Callable[[], Batches]:
    corners = [corner for batch in task.batches() for corner in batch]
    dataset = ZarrCrops(task.plate.store, corners, task.size)
    loader = DataLoader(dataset, task.batch_size, num_workers=task.workers, persistent_workers=True)
    return lambda: loader


OURS = ("cellmae batch", "cellmae prefetch")
READERS: dict[str, Callable[[Task], Callable[[], Batches]]] = {
    OURS[0]: our_batches,
    OURS[1]: our_prefetch,
    "zarr, by crop": crop_by_crop(open_zarr),
    "zarr, by field": field_by_field(open_zarr),
    "tensorstore, by crop": crop_by_crop(open_tensorstore),
    "tensorstore, by field": field_by_field(open_tensorstore),
    "DataLoader, zarr by crop": data_loader,
}
WITH_WORKERS = ("cellmae prefetch", "DataLoader, zarr by crop")


def warm_contestants(names: Sequence[str], task: Task) -> list[Contestant]:
    """Return readers that take turns over a store in the page cache."""
    crops = float(task.steps * task.batch_size)
    return [Contestant(name, partial(_exhaust, READERS[name](task)), crops) for name in names]


def cold_contestants(names: Sequence[str], task: Task) -> list[Contestant]:
    """Return readers that make one pass a turn over a store that has been dropped from the page cache."""
    crops = float(task.steps * task.batch_size)
    opened: dict[str, Callable[[], Batches]] = {}

    def prepare(name: str) -> None:
        for ours in OURS:  # what is mapped stays in memory
            opened.pop(ours, None)
        evict(task.plate.store)
        if name not in opened:
            opened[name] = READERS[name](task)

    def read(name: str) -> None:
        _exhaust(opened[name])

    return [Contestant(name, partial(read, name), crops, partial(prepare, name), repeats=1) for name in names]


def _exhaust(read: Callable[[], Batches]) -> None:
    for _ in read():
        pass


def evict(store: Path) -> None:
    """Drop the store's fields from the page cache, and make sure that they are gone."""
    gc.collect()  # readers in reference cycles hold their mappings until then
    fields = [path for path in (store / "images").rglob("*") if path.is_file() and path.name != "zarr.json"]
    for path in fields:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    share = sum(map(_cached_share, fields)) / len(fields)
    if share > MAX_CACHED_SHARE:
        raise SystemExit(f"{share:.0%} of {store} stayed in the page cache: does it lie in memory, or is it in use?")


def _cached_share(path: Path) -> float:
    """Return how much of a file is in the page cache, as mincore(2) knows it: asking reads nothing."""
    mapped = np.memmap(path, np.uint8, mode="r")
    pages = np.zeros(-(-mapped.size // mmap.PAGESIZE), np.uint8)
    if LIBC.mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(mapped.size), pages.ctypes):
        raise OSError(ctypes.get_errno(), "mincore")
    return float((pages & 1).mean())


def require_equal(names: Sequence[str], task: Task) -> None:
    """Stop unless all readers return the same pixels."""
    expected = [np.array(batch) for batch in READERS[names[0]](task)()]
    for name in names[1:]:
        for ours, theirs in zip(expected, READERS[name](task)(), strict=True):
            if not np.array_equal(ours, np.asarray(theirs)):
                raise SystemExit(f"{name} reads other pixels than {names[0]}")


def rows_of(turns: dict[str, list[Turn]], task: Task, temperature: str) -> list[Row]:
    best = max((name for name in turns if name not in OURS), key=lambda name: speed(turns[name], cpu=True))
    return [
        {
            "cache": temperature,
            "reader": name,
            "workers": task.workers if name in WITH_WORKERS else 0,
            "crops/CPU-s": speed(own, cpu=True),
            "this/best other": ratio(own, turns[best], cpu=True),
            "crops/s": speed(own),
        }
        for name, own in turns.items()
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS), metavar="NAME",
                        help=f"who takes turns: {'; '.join(READERS)}")  # fmt: skip
    parser.add_argument("--fields", type=int, default=48, help="fields in the store")
    parser.add_argument("--field-edge", type=int, default=1024, help="edge of a field in pixels")
    parser.add_argument("--crop-size", type=int, default=256, help="edge of a crop in pixels")
    parser.add_argument("--batch", type=int, default=64, help="crops in a batch")
    parser.add_argument("--steps", type=int, default=16, help="batches in a warm pass; a cold one sees fields once")
    parser.add_argument("--workers", type=int, default=2, help="of prefetch and DataLoader")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a warm turn; a cold one is a pass")
    parser.add_argument("--cache", choices=["warm", "cold"], nargs="+", default=["warm", "cold"])
    parser.add_argument("--folder", type=Path, help="where the store is written, on the disk to be measured")
    parser.add_argument("--csv", type=Path, help="file for the rows")
    return parser.parse_args()


def main() -> None:
    args = parse()
    names = list(args.readers)
    try:
        import tensorstore  # noqa: F401
    except ImportError:
        names = [name for name in names if "tensorstore" not in name]
        print("tensorstore is not installed: its rows are left out")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(f"writing {args.fields} fields of {args.field_edge} pixels", flush=True)
        plate = tile_noise(
            Path(folder), fields=args.fields, edge=args.field_edge, crop_size=args.crop_size,
            threads=args.workers, channels=CHANNELS,
        )  # fmt: skip
        once = max(1, args.fields * CROPS_PER_FIELD // args.batch)
        for temperature in args.cache:
            warm = temperature == "warm"
            task = Task(plate, args.crop_size, args.batch, args.steps if warm else once, args.workers)
            require_equal(names, task)
            contestants = (warm_contestants if warm else cold_contestants)(names, task)
            turns = take_turns(contestants, rounds=args.rounds, seconds=args.seconds, device=CPU)
            del contestants  # a warm reader's mappings would keep the store in memory
            rows += rows_of(turns, task, temperature)
    report(rows, CPU, args.csv)
    print(f"target: {TARGET_WARM:,.0f} crops a CPU-second warm, {TARGET_RATIO} times the best of the others")


if __name__ == "__main__":
    main()
