"""What a job says while it works: a log file, a progress bar for people, and errors that fit on one line."""

import errno
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

from tqdm import tqdm

from cellmae.errors import CellmaeError, DamagedError

SECONDS_BETWEEN_LOG_LINES = 30.0
LOG_FORMAT, LOG_DATE_FORMAT = "%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"
LOG_LINE = re.compile(r"[\d-]+ [\d:]+ (?P<level>[A-Z]+) (?P<message>.*)")
FAILED_JOB = re.compile(r"^ *log: (?P<log>.+) \(check log file\(s\) for error details\)$", re.MULTILINE)

DISK_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder for results, and run again; what is done stays",
    errno.EDQUOT: "free some of your quota, or choose another folder for results, and run again; what is done stays",
    errno.EROFS: "choose a folder for results that can be written to",
    errno.EACCES: "choose a folder for results that can be written to",
}

logger = logging.getLogger("cellmae")
Item = TypeVar("Item")


@contextmanager
def job_log(path: str | Path) -> Iterator[logging.Logger]:
    """Send logging, warnings and a failure's traceback to the log file of a job.

    A :class:`CellmaeError`, and a disk that is full or cannot be written to, end the process with status 1 and a
    message alone; any other exception is logged with its traceback and raised again. A result that turns out damaged
    loses the manifest that vouches for it, so that the next run makes it anew; see
    :class:`~cellmae.errors.DamagedError`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    handler = logging.FileHandler(path)  # appends, as do the processes that a job starts
    handler.setFormatter(logging.Formatter(LOG_FORMAT, LOG_DATE_FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield logger
    except DamagedError as error:
        for path in error.to_delete:
            path.unlink(missing_ok=True)
        _leave_with(f"{error} (deleted: {', '.join(map(str, error.to_delete))})")
    except CellmaeError as error:
        _leave_with(str(error))
    except BaseException as error:
        logger.exception("the job failed")
        if remedy := DISK_REMEDIES.get(_disk_error(error)):
            _leave_with(f"{' '.join(str(error).split())}: {remedy}")
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def _disk_error(error: BaseException) -> int:
    """Return what the system said; HDF5, which finds the disk full as it closes a file, tells it in its text alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    return errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else 0


def _leave_with(message: str) -> NoReturn:
    logger.error("%s", message)
    print(f"cellmae: {message}", file=sys.stderr)
    raise SystemExit(1) from None


def causes(snakemake_log: str | Path) -> list[str]:
    """Return why each job failed that Snakemake's own log tells of, after the path of the job's log.

    An error is the last line of a job's log; without one the job was ended from outside, by a limit on memory or time.
    """
    told = Path(snakemake_log).read_text(errors="replace")
    logs = dict.fromkeys(found["log"] for found in FAILED_JOB.finditer(told))
    return [f"{log}: {_cause(Path(log))}" for log in logs if Path(log).is_file()]


def _cause(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    logged = [found for line in lines if (found := LOG_LINE.fullmatch(line))]
    if not logged or logged[-1]["level"] != "ERROR":
        return "the job was ended from outside, perhaps by a limit on memory or time"
    written = LOG_LINE.fullmatch(lines[-1])  # else the last line of a traceback
    return written["message"] if written else lines[-1]


def progress(items: Iterable[Item], *, description: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar on a terminal, and with a line in the log every half minute elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=description, unit=unit, total=total, leave=False)
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    start = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LOG_LINES:
            last = now
            rate = count / (now - start)
            left = f", {(total - count) / rate:.0f} s left" if total else ""
            logger.info("%s: %d of %s %ss, %.1f a second%s", description, count, total or "?", unit, rate, left)
