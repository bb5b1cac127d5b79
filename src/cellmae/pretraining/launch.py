"""One training in many processes: ``torchrun``, here or on each node of a Slurm job, shares this process's fate."""

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellmae.errors import CellmaeError, DataError
from cellmae.files import read_json, write_json
from cellmae.logging import LOG_DATE_FORMAT, LOG_FORMAT, logger
from cellmae.pretraining.interruption import deferred_interruption

SECONDS_BETWEEN_LOOKS = 0.2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
FIRST_PORT, PORTS = 29400, 4096  # where the ranks of several nodes meet; jobs that share a node take different ones


def train_in_ranks(arguments: Mapping[str, Any], *, ranks: int, nodes: int = 1) -> None:
    """Call :func:`cellmae.pretraining.pretrain` in several processes at once, and wait for them.

    A signal to stop is passed on, so that the training ends with a checkpoint; a rank that dies ends the others.

    Parameters
    ----------
    arguments
        Of the call, with paths as text.
    ranks
        Processes of a node, one a GPU.
    nodes
        Nodes of the Slurm job that this process runs in, on the first of them.

    Raises
    ------
    DataError
        A rank failed.
    """
    model = Path(arguments["folder"])  # other nodes see it, too
    model.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".ranks-", dir=model) as folder,
        deferred_interruption() as interruption,
    ):
        job, failure = Path(folder, "job.json"), Path(folder, "failure.json")
        write_json(job, {"arguments": dict(arguments), "log": _log_file()})
        command = [
            *_torchrun(ranks, nodes, threads=ranks * arguments["threads"]),
            *("-m", "cellmae.pretraining.launch", str(job.resolve()), str(failure.resolve())),
        ]
        process = subprocess.Popen(command, preexec_fn=_die_with_parent)
        told = False
        while (status := process.poll()) is None:
            if interruption.signal and not told:
                process.send_signal(signal.SIGTERM)
                told = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        said = read_json(failure)["message"] if failure.exists() else f"status {status}; the log says why"
    if interruption.signal:
        interruption.leave()
    if status:
        raise DataError(f"a rank of the training failed and ended the others: {said}")


def _torchrun(ranks: int, nodes: int, *, threads: int) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    if nodes == 1:
        return [*command, "--standalone"]
    job = int(os.environ.get("SLURM_JOB_ID", 0))
    meeting = f"{socket.gethostname()}:{FIRST_PORT + job % PORTS}"
    return [
        # --kill-on-bad-exit: a node that dies must not leave the others waiting.
        *("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"),
        f"--cpus-per-task={threads}",  # a step does not inherit it from the job
        *command,
        *(f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-id=cellmae-{job}"),
    ]


def granted_nodes(nodes: int) -> int:
    """Return how many nodes train together of those that a job asked for: all in a Slurm job, one elsewhere."""
    if nodes > 1 and not (os.environ.get("SLURM_JOB_ID") and shutil.which("srun")):
        logger.warning("models.nodes: %d were asked for, and this is no Slurm job; this machine trains alone", nodes)
        return 1
    return nodes


def granted_ranks(gpus: int, *, wanted: int) -> int:
    """Return how many processes train together on the GPUs that a job was granted; one where there is none."""
    if 0 < gpus < wanted:
        logger.warning(
            "models.gpus: %d were asked for and %d granted; start snakemake with --resources gpu=%d to use them",
            wanted, gpus, wanted,
        )  # fmt: skip
    return max(1, gpus)


def _log_file() -> str | None:
    """Return the file that this process has come to log to last, if any."""
    files = [
        handler.baseFilename for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)
    ]
    return files[-1] if files else None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _main(job: str, failure: str) -> None:
    from cellmae.pretraining.run import pretrain

    _die_with_parent()
    given = read_json(job)
    if given["log"] is not None:
        logging.basicConfig(filename=given["log"], format=LOG_FORMAT, datefmt=LOG_DATE_FORMAT, level=logging.INFO)
    try:
        pretrain(**given["arguments"])
    except CellmaeError as error:
        write_json(failure, {"message": str(error)})
        raise SystemExit(1) from None


if __name__ == "__main__":
    _main(*sys.argv[1:])
