"""Batches prepared in background threads while the model works on the one before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np


class Batches(Protocol):
    """What makes batches, such as :class:`cellmae.tiles.CropSource`."""

    channels: tuple[str, ...]
    size: int

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
        """Make the batch of a step, or a part of it."""
        ...


def prefetch(
    source: Batches,
    steps: Iterable[int],
    *,
    seed: int,
    batch_size: int,
    start: int = 0,
    stop: int | None = None,
    threads: int = 2,
    allocate: Callable[[tuple[int, ...]], np.ndarray] = lambda shape: np.empty(shape, np.uint8),
) -> Iterator[np.ndarray]:
    """Yield the batches of some steps in order, each prepared by a thread ahead of time.

    Threads do here what a ``DataLoader`` needs processes for: copying crops releases the interpreter's lock.

    Parameters
    ----------
    source
        Where the crops come from.
    steps
        Numbers of the steps.
    seed, batch_size, start, stop
        As for :meth:`CropSource.batch`.
    threads
        Batches that are prepared at the same time.
    allocate
        Makes a buffer (uint8) of a shape: memory that the device can copy from, say.

    Yields
    ------
    Array (stop - start, channels, size, size) uint8, valid until the next one is asked for: its memory is used
    again. An error in a thread is raised here; the threads end with the generator (``close`` it, or wrap it in
    :class:`contextlib.closing`, when leaving early).
    """
    count = (batch_size if stop is None else stop) - start
    shape = (count, len(source.channels), source.size, source.size)
    buffers = [allocate(shape) for _ in range(threads + 1)]
    pending: deque[Future[np.ndarray]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="crops")
    try:
        for turn, step in enumerate(steps):
            # Where all buffers are in use, this is the one that the consumer has just given back.
            out = buffers[turn % len(buffers)]
            pending.append(
                pool.submit(source.batch, step, seed=seed, batch_size=batch_size, start=start, stop=stop, out=out)
            )
            if len(pending) == len(buffers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
