"""Contestants that take turns in one process, and the table of how fast each was.

Speeds of different runs do not compare: clocks, neighbours and caches differ. So contestants alternate, round by round
(A B A B ...), and the ratio of two is the median of their ratios within a round.
"""

import csv
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
WARM_UPS = 3  # the first compiles, the second may do so again
Row = dict[str, Any]


def _nothing() -> None:
    """Prepare nothing."""


@dataclass
class Contestant:
    """Somebody who does the same piece of work again and again.

    Attributes
    ----------
    name
        What the table says.
    work
        Does one piece.
    units
        Crops, or floating-point operations, in a piece.
    prepare
        Called before every turn, outside of the time that counts.
    repeats
        Pieces in a turn; None takes as many as fill the seconds of a turn.
    """

    name: str
    work: Callable[[], object]
    units: float
    prepare: Callable[[], object] = _nothing
    repeats: int | None = None


class Turn(NamedTuple):
    """How fast a contestant was in a round: units a second, and a CPU-second of all threads and worker processes."""

    rate: float
    cpu_rate: float


def take_turns(
    contestants: Sequence[Contestant], *, rounds: int, seconds: float, device: torch.device
) -> dict[str, list[Turn]]:
    """Let contestants work in alternation.

    Parameters
    ----------
    contestants
        With different names. Each first does :data:`WARM_UPS` pieces that do not count, the fastest of which says how
        many fit into a turn.
    rounds
        Turns of each.
    seconds
        Length of a turn.
    device
        Where they work: a GPU is waited for at the end of a turn.

    Returns
    -------
    For each name a turn a round.
    """
    repeats = {
        contestant.name: contestant.repeats or _fitting(contestant, seconds, device) for contestant in contestants
    }
    turns: dict[str, list[Turn]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            contestant.prepare()
            done = contestant.units * repeats[contestant.name]
            took, cpu = _time(contestant, repeats[contestant.name], device)
            turns[contestant.name].append(Turn(done / took, done / cpu))
    return turns


def _fitting(contestant: Contestant, seconds: float, device: torch.device) -> int:
    contestant.prepare()
    took = [_time(contestant, 1, device)[0] for _ in range(WARM_UPS)]
    return max(1, ceil(seconds / min(took)))


def _time(contestant: Contestant, repeats: int, device: torch.device) -> tuple[float, float]:
    cpu, start = cpu_seconds(), time.perf_counter()
    for _ in range(repeats):
        contestant.work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """CPU time so far of this process, all its threads, and the worker processes that it has now."""
    workers = [process.pid for process in multiprocessing.active_children() if process.pid is not None]
    return time.process_time() + sum(time.clock_gettime(_clock_of(pid)) for pid in workers)


def _clock_of(pid: int) -> int:
    """Return what clock_getcpuclockid(3) does: the clock that counts another process's CPU time."""
    return (~pid << 3) | 2


def speed(turns: Sequence[Turn], *, cpu: bool = False) -> float:
    """Return the median over rounds, units a second or a CPU-second."""
    return median(turn.cpu_rate if cpu else turn.rate for turn in turns)


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn], *, cpu: bool = False) -> float:
    """Return the median over rounds of our speed over theirs."""
    pairs = zip(ours, theirs, strict=True)
    return median(a.cpu_rate / b.cpu_rate if cpu else a.rate / b.rate for a, b in pairs)


def circumstances(device: torch.device) -> Row:
    """Describe where, when and with what is measured; the same for all rows of a table."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "commit": _commit(),
    }


def _processor() -> str:
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{models[0] if models else 'CPU'}, {os.cpu_count()} cores"


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_table(rows: Sequence[Row]) -> None:
    """Print rows with the same keys as columns, numbers to three digits."""
    cells = [list(rows[0]), *([_show(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    for row in cells:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        print("  ".join(aligned).rstrip(), flush=True)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def report(rows: Sequence[Row], device: torch.device, path: Path | None) -> None:
    """Print the table under a line that says where and when, and write it with these as CSV where asked to."""
    where = circumstances(device)
    print("\n" + "; ".join(f"{key} {value}" for key, value in where.items()))
    print_table(rows)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], *where])
            writer.writeheader()
            writer.writerows(row | where for row in rows)
