"""Models that take turns at one task: which, on what crops, and what share of the device's speed each uses."""

import argparse
import gc
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from arithmetic import PRODUCT, peak_contestant, reference_peak
from cellmae.models import Architecture, choose_device, prepare_cpu, read_architecture
from timing import Contestant, Row, Turn, ratio, report, speed, take_turns

LETTERS = {"S": "small", "B": "base", "L": "large"}
DEFAULT_MODELS = {"cpu": ["tiny/8"], "cuda": ["S/16", "B/16", "B/8", "L/16", "L/8"]}
DEFAULT_CROP_SIZE = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class Task:
    """What all contestants do.

    Attributes
    ----------
    name
        Of the model, such as S/16.
    device
        Where.
    channels, crop_size, batch_size
        Of the crops.
    spec
        The model's configuration, an entry of ``models``.
    """

    name: str
    device: torch.device
    channels: int
    crop_size: int
    batch_size: int
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        """Dimensions of the model."""
        return read_architecture(self.spec, crop_size=self.crop_size)

    def buffer(self) -> torch.Tensor:
        """Return memory for a batch on the host; GPUs copy from pinned memory while the CPU goes on."""
        shape = (self.batch_size, self.channels, self.crop_size, self.crop_size)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def crops(self) -> torch.Tensor:
        """Return a batch of noise on the host."""
        return self.buffer().random_(0, 256)


SetUp = Callable[[Task, ExitStack], list[Contestant]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every race has."""
    parser.add_argument("--models", nargs="+", metavar="SIZE/PATCH", help="S/16, tiny/8, ...; by default as the device")
    parser.add_argument(
        "--batch", type=int, help="crops in a batch, halved where memory does not do; default: the model's"
    )
    parser.add_argument("--crop-size", type=int, help="edge of the crops in pixels; 64 on CPUs, 256 on GPUs")
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of CPU time, where others use the machine",
    )
    parser.add_argument("--csv", type=Path, help="file for the rows")


def race_models(
    args: argparse.Namespace,
    set_up: SetUp,
    *,
    spec: Mapping[str, Any],
    batch_sizes: Mapping[str, int],
    flops: Callable[[Task], float],
    peak: Callable[[torch.device], torch.dtype],
) -> None:
    """Race the models of the arguments one after the other, and report all rows so far after each.

    Parameters
    ----------
    args
        Those of :func:`add_arguments`.
    set_up
        Returns who takes turns at a task; what it has to clean up goes on the stack.
    spec
        What the models' configurations have in common.
    batch_sizes
        Crops in a batch for each model, and for all others under "".
    flops
        Operations that a task takes a crop.
    peak
        Type of the matrix product that is called the device's peak.
    """
    prepare_cpu(args.threads or torch.get_num_threads())
    device = choose_device(args.device)
    rows: list[Row] = []
    for model in args.models or DEFAULT_MODELS[device.type]:
        size, patch = model.split("/")
        task = Task(
            name=model,
            device=device,
            channels=args.channels,
            crop_size=args.crop_size or DEFAULT_CROP_SIZE[device.type],
            batch_size=args.batch or batch_sizes.get(model, batch_sizes[""]),
            spec={**spec, "size": LETTERS.get(size, size), "patch": int(patch)},
        )
        task, turns = _race_within_memory(task, set_up, peak(device), args)
        product, first, operations = turns.pop(PRODUCT), next(iter(turns.values())), flops(task)
        cpu = args.clock == "cpu"
        kind = str(peak(device)).removeprefix("torch.")
        rows += [
            _row(task, name, own, first, product, operations, cpu=cpu) | {"peak in": kind}
            for name, own in turns.items()
        ]
        report(rows, device, args.csv)


def _race_within_memory(
    task: Task, set_up: SetUp, dtype: torch.dtype, args: argparse.Namespace
) -> tuple[Task, dict[str, list[Turn]]]:
    """Let them take turns with this batch, or with half of it, a quarter, ..., whatever fits."""
    while True:
        torch.compiler.reset()
        try:
            with ExitStack() as stack:
                contestants = [*set_up(task, stack), peak_contestant(task.device, dtype)]
                return task, take_turns(contestants, rounds=args.rounds, seconds=args.seconds, device=task.device)
        except torch.OutOfMemoryError:
            if task.batch_size == 1:
                raise
        task = replace(task, batch_size=task.batch_size // 2)
        print(f"{task.name}: out of memory, trying again with batches of {task.batch_size}", flush=True)
        contestants = []  # their memory goes before more is asked for
        gc.collect()
        torch.cuda.empty_cache()


def _row(
    task: Task, name: str, turns: list[Turn], first: list[Turn], peak: list[Turn], flops: float, *, cpu: bool
) -> Row:
    reference, crops = reference_peak(task.device), speed(turns, cpu=cpu)
    return {
        "model": task.name,
        "batch": task.batch_size,
        "contestant": name,
        "crops/CPU-s" if cpu else "crops/s": crops,
        "first/this": ratio(first, turns, cpu=cpu),
        "GFLOP/crop": flops / 1e9,
        "TFLOP/s": crops * flops / 1e12,
        "of peak": ratio(turns, peak, cpu=cpu) * flops,
        "peak TFLOP/s": speed(peak, cpu=cpu) / 1e12,
        "of reference": None if reference is None else crops * flops / reference,
    }
