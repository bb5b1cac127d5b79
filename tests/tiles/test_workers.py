"""The fields of a plate worked on by a Dask cluster: the same result, whatever happens to its workers."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.files import read_manifest
from cellmae.tiles import open_store, tiling, workers

from .conftest import PlateMaker

distributed = pytest.importorskip("distributed", reason="needs distributed (extra dask)")
pytestmark = pytest.mark.slow
Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Return a function that starts ``dask scheduler`` or ``dask worker``; all are killed in the end."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(start: Callable[..., "subprocess.Popen[str]"]) -> str:
    """Address of a scheduler in a process of its own."""
    log = start("scheduler", "--port", "0").stderr
    assert log is not None
    return next(line.split()[-1] for line in log if "Scheduler at:" in line)


@pytest.fixture
def start_worker(start: Callable[..., "subprocess.Popen[str]"], scheduler: str) -> Start:
    """Return a function that starts a worker of one thread."""
    return lambda: start("worker", scheduler, "--no-nanny", "--nthreads", "1")


def test_a_worker_killed_in_the_middle_of_a_plate_loses_nothing(
    make_plate: PlateMaker, scheduler: str, start_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = make_plate(fields=120)
    plate.image(7).write_bytes(b"nonsense")
    plate.tile(illumination="estimate")
    expected = read_manifest(plate.manifest, stage="tiles")
    victim, _ = start_worker(), start_worker()

    def killing(results: Iterator, **_: object) -> Iterator:
        for number, result in enumerate(results):
            if number == 40:
                victim.kill()
            yield result

    monkeypatch.setattr(tiling, "progress", killing)
    plate.tile(illumination="estimate", scheduler=scheduler)
    assert victim.wait() != 0
    assert read_manifest(plate.manifest, stage="tiles") == expected
    assert expected["fields"] == 119
    open_store(plate.store, verify=True)


def test_a_cluster_that_is_gone_is_an_error_and_leaves_nothing(
    make_plate: PlateMaker, scheduler: str, start_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 3.0)
    plate = make_plate(fields=40)
    with pytest.raises(ConfigError, match=r"^dask.scheduler: the scheduler tcp://.* has no workers: start some"):
        plate.tile(scheduler=scheduler)
    monkeypatch.setattr(workers, "PATIENCE", 60.0)
    only = start_worker()

    def killing(results: Iterator, **_: object) -> Iterator:
        monkeypatch.setattr(workers, "PATIENCE", 3.0)
        only.kill()
        yield from results

    monkeypatch.setattr(tiling, "progress", killing)
    with pytest.raises(DataError, match=r"^dask.scheduler: all workers of tcp://.* are gone: start others"):
        plate.tile(scheduler=scheduler)
    assert not list((plate.root / "tiles").iterdir())


def test_a_scheduler_that_does_not_answer_is_named(make_plate: PlateMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 2.0)
    with pytest.raises(ConfigError, match=r"^dask.scheduler: no scheduler answers at tcp://127.0.0.1:1 "):
        make_plate().tile(scheduler="tcp://127.0.0.1:1")
