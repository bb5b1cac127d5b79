"""Snakemake and its jobs without their start of seconds: forked from a process that has imported what they need.

A server (:mod:`multiprocessing`'s) forks Snakemake. Before it begins, it forks a process that forks each job, since
Snakemake itself has threads by then. All are one group, as of a Snakemake that was started in a shell.
"""

import json
import logging
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from snakemake.benchmark import benchmarked
from snakemake.cli import main
from snakemake.script import PythonScript
from threadpoolctl import threadpool_limits

IMPORTED = [
    "anndata", "dask.array", "distributed", "jinja2", "matplotlib.figure", "scanpy", "scipy.stats",
    "sklearn.decomposition", "snakemake.cli", "snakemake.script", "timm.models.vision_transformer", "timm.optim",
    "torch", "umap", "vl_convert", "zarr",
]  # fmt: skip
# Threads that wait for each other must not spin while other processes need the core.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(IMPORTED)


class Running:
    """Snakemake in a folder, as a process group of its own, from its start on."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, environment: dict[str, str]) -> None:
        self.command = ["snakemake", *arguments]
        self.temporary = TemporaryDirectory()
        self.outputs = [Path(self.temporary.name, name) for name in ("stdout", "stderr")]
        self.process = SERVER.Process(target=_snakemake, args=(self.command[1:], folder, environment, self.outputs))
        self.process.start()

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return not self.process.is_alive()

    def kill(self) -> None:
        """Kill -9 it and its jobs."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; return its status and what it said."""
        try:
            self.process.join()
        finally:
            if not self.ended:  # the test ran out of time
                self.kill()
        with self.temporary:
            said = [output.read_text(errors="replace") for output in self.outputs]
        assert self.process.exitcode is not None
        return subprocess.CompletedProcess(self.command, self.process.exitcode, *said)


def _snakemake(arguments: list[str], folder: Path, environment: dict[str, str], outputs: list[Path]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), descriptor)
    jobs = _Jobs()
    PythonScript._execute_cmd = partialmethod(_execute, jobs.address)
    try:
        main(arguments)
    finally:
        jobs.close()


class _Jobs:
    """A process that forks the jobs of a Snakemake."""

    def __init__(self) -> None:
        self.address = f"\0cellmae-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            self.process = os.fork()
            if not self.process:
                _serve(listener)

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def _execute(script: PythonScript, address: str, command: str, *, fname: str, **_: Any) -> None:
    """Have a job run, in place of the method by which Snakemake starts a Python for it."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile() as answers:
        connection.connect(address)
        connection.sendall(json.dumps({"path": fname, "threads": script.threads}).encode() + b"\n")
        job = int(answers.readline())
        with benchmarked(job if script.bench_record is not None else False, script.bench_record):
            status = answers.readline()
    if status.strip() != "0":
        raise subprocess.CalledProcessError(int(status or -signal.SIGKILL), command)


def _serve(listener: socket.socket) -> NoReturn:
    """Fork, for each connection, a process that forks the job, tells its number, waits for it and tells its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        with connection:
            if os.fork():
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            asked = json.loads(connection.makefile().readline())
            if not (job := os.fork()):
                connection.close()
                os._exit(_run(**asked))
            connection.sendall(f"{job}\n".encode())
            # Snakemake looks the job up to measure it. As a process of its own would, an ended one stays to be found
            # until Snakemake has heard of its end and closes the connection.
            ended = os.waitid(os.P_PID, job, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            connection.sendall(f"{status}\n".encode())
            connection.recv(1)
            os._exit(0)


def _run(path: str, threads: int) -> int:
    """Run a script as Python would; return its status."""
    status = 0
    sys.argv = [path]
    try:
        with threadpool_limits(threads):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status
