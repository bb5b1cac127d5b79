"""What a job says while it works: a log file, a progress bar for people, and errors that fit on one line."""

import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from cellmae.errors import CellmaeError

SECONDS_BETWEEN_LOG_LINES = 30.0
LOG_FORMAT, LOG_DATE_FORMAT = "%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"

logger = logging.getLogger("cellmae")
Item = TypeVar("Item")


@contextmanager
def job_log(path: str | Path) -> Iterator[logging.Logger]:
    """Send logging, warnings and a failure's traceback to the log file of a job.

    A :class:`CellmaeError` ends the process with status 1 and its message alone; any other exception is
    logged with its traceback and raised again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w")
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
    except CellmaeError as error:
        logger.error("%s", error)
        print(f"cellmae: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BaseException:
        logger.exception("the job failed")
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


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
