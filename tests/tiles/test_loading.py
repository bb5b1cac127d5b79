"""Batches from background threads: in order, in reused memory, with errors and threads accounted for."""

import threading
import time

import numpy as np
import pytest

from cellmae.tiles import CropSource, prefetch

from .conftest import SyntheticPlate


@pytest.fixture
def source(plate: SyntheticPlate) -> CropSource:
    plate.tile()
    return CropSource([plate.store], [plate.table], size=16, crops="random")


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("crops")]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_batches_come_in_order_and_whole(source: CropSource, threads: int) -> None:
    steps = range(3, 20)
    for step, batch in zip(steps, prefetch(source, steps, seed=1, batch_size=24, threads=threads), strict=True):
        expected = source.batch(step, seed=1, batch_size=24)
        time.sleep(0.001)  # time for a thread to write where it must not
        assert np.array_equal(batch, expected)
    assert not loader_threads()


def test_a_rank_gets_its_part_in_reused_memory(source: CropSource) -> None:
    memory = set()
    for step, batch in enumerate(prefetch(source, range(9), seed=1, batch_size=24, start=8, stop=16, threads=2)):
        memory.add(batch.ctypes.data)
        assert np.array_equal(batch, source.batch(step, seed=1, batch_size=24)[8:16])
    assert len(memory) == 3


def test_fewer_steps_than_buffers(source: CropSource) -> None:
    assert len(list(prefetch(source, range(2), seed=0, batch_size=4, threads=4))) == 2
    assert list(prefetch(source, [], seed=0, batch_size=4)) == []


def test_an_error_in_a_thread_reaches_the_consumer(source: CropSource, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = CropSource.batch

    def failing(self: CropSource, step: int, **options: object) -> np.ndarray:
        if step == 3:
            raise OSError("the disk is gone")
        return batch(self, step, **options)

    monkeypatch.setattr(CropSource, "batch", failing)
    batches = prefetch(source, range(100), seed=0, batch_size=4)
    for _ in range(3):
        next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not loader_threads()


def test_threads_end_when_the_consumer_leaves_early(source: CropSource) -> None:
    batches = prefetch(source, range(10**9), seed=0, batch_size=4)
    next(batches)
    assert loader_threads()
    batches.close()
    assert not loader_threads()
