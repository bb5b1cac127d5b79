"""One training in many processes: ``torchrun`` as a child that shares this process's fate."""

import ctypes
import logging
import signal
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


def train_in_ranks(arguments: Mapping[str, Any], *, ranks: int) -> None:
    """Call :func:`cellmae.pretraining.pretrain` in several processes at once, and wait for them.

    A signal to stop is passed on, so that the training ends with a checkpoint; a rank that dies ends the others.

    Parameters
    ----------
    arguments
        Of the call, with paths as text.
    ranks
        Processes, one a GPU.

    Raises
    ------
    DataError
        A rank failed.
    """
    with tempfile.TemporaryDirectory(prefix="cellmae-") as folder, deferred_interruption() as interruption:
        job, failure = Path(folder, "job.json"), Path(folder, "failure.json")
        write_json(job, {"arguments": dict(arguments), "log": _log_file()})
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"),
            *("-m", "cellmae.pretraining.launch", str(job), str(failure)),
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
