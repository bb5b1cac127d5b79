"""What a device reaches in plain matrix products, which the speed of a training is compared with."""

import time

import torch

MATRIX_EDGE = {"cpu": 1024, "cuda": 8192}
ROUNDS = 4


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
