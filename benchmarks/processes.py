"""Work in a process of its own, whose time and memory are the work's alone."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What a piece of work took: seconds, CPU seconds of all threads, and GB that the process grew to at most."""

    wall: float
    cpu: float
    memory: float


def cost_of(work: Callable[[], object], *, seconds: float = 0) -> Cost:
    """Do the work in a fork, which has the data that are there, and again until ``seconds`` are over.

    Returns
    -------
    Cost
        Of one piece of work; memory counts what the fork began with, imports and data.
    """
    context = multiprocessing.get_context("fork")
    costs = context.SimpleQueue()
    process = context.Process(target=_work, args=(work, seconds, costs))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the work failed")
    return costs.get()


def _work(work: Callable[[], object], seconds: float, costs: Any) -> None:
    start, cpu, pieces = time.perf_counter(), time.process_time(), 0
    while not pieces or time.perf_counter() - start < seconds:
        work()
        pieces += 1
    wall, cpu = (time.perf_counter() - start) / pieces, (time.process_time() - cpu) / pieces
    costs.put(Cost(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))
