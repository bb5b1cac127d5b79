"""How much of a device's speed a training uses: counted operations over what plain matrix products reach."""

import copy
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from cellmae.logging import logger
from cellmae.models.drop_path import draw_paths, drop_paths
from cellmae.pretraining.objective import Objective

MATRIX_EDGE = {"cpu": 1024, "cuda": 8192}
ROUNDS = 4
EXAMPLES = 2  # crops; batch normalisation wants more than one


def seconds_per_crop(objective: Objective, device: torch.device, dtype: torch.dtype) -> float:
    """Return the time that a crop of training takes at least: if all of it were matrix products at full speed.

    Returns
    -------
    Seconds; not a number where the operations cannot be counted.
    """
    return flops_per_crop(objective, device) / peak_flops(device, dtype)


def flops_per_crop(objective: Objective, device: torch.device) -> float:
    """Count the operations of forward and backward pass, two a multiply-add, for one crop."""
    copied = copy.deepcopy(objective)  # statistics and gradients of the original stay as they are
    inputs = [tensor.to(device) for tensor in copied.example(EXAMPLES)]
    paths = drop_paths(copied)
    draw_paths(paths, torch.ones(EXAMPLES, len(paths), device=device))
    try:
        with FlopCounterMode(display=False) as counter:
            loss, _ = copied(*inputs)
            loss.backward()
    except (RuntimeError, NotImplementedError) as error:
        logger.warning("the operations of a step cannot be counted: %s", str(error).splitlines()[:1])
        return float("nan")
    return counter.get_total_flops() / EXAMPLES


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure what a large matrix product of this precision reaches, operations a second; takes a moment."""
    edge = MATRIX_EDGE.get(device.type, MATRIX_EDGE["cpu"])
    # Random numbers: GPUs draw less power for ones or zeros, and clock higher than any training makes them.
    matrix = torch.randn(edge, edge, device=device, dtype=dtype, generator=torch.Generator(device).manual_seed(0))
    best = float("inf")
    for _ in range(ROUNDS):  # the first warms up; the best of them is what the device can do
        _wait(device)
        start = time.perf_counter()
        matrix @ matrix
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * edge**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
