"""Where models run."""

import ctypes
import resource
import sys
from contextlib import suppress

import torch

from cellmae.errors import ConfigError

# Of mallopt in malloc.h of the GNU C library.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 2**30  # bytes


def choose_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device: found '{name}', but torch sees no GPU; use cpu or auto")
    return torch.device(name)


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether matrix products are done in bfloat16; ``auto`` does so where the hardware multiplies it faster."""
    if precision == "auto":
        if device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.cpu._is_avx512_bf16_supported()
    return precision == "bfloat16"


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory, in MiB, that this process has had: of a GPU what tensors took, else all of its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def prepare_cpu(threads: int) -> None:
    """Let torch use so many threads, and the C library keep the memory of large arrays for the next ones.

    It would give it back to the system after every operation, and touching fresh pages takes a sixth of the time of a
    training step on a CPU. Other C libraries than GNU's are left as they are.
    """
    torch.set_num_threads(threads)
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
