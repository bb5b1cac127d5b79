"""Compiling the step, where it pays and where it can be done."""

import shutil
from typing import Any

import torch
from torch import nn

from cellmae.logging import logger


def compiled(module: nn.Module, wanted: bool | None, device: torch.device) -> Any:
    """Return a module compiled as one graph, or as it is where that is not wanted or cannot be done.

    Parameters
    ----------
    wanted
        None compiles on GPUs, where it pays; on CPUs it takes a minute and gains little.
    """
    if not (device.type == "cuda" if wanted is None else wanted):
        return module
    if (missing := _missing_compiler(device)) is not None:
        logger.warning(
            "models.compile: %s, so the step is not compiled; training is slower, its result the same", missing
        )
        return module
    return torch.compile(module, fullgraph=True)


def _missing_compiler(device: torch.device) -> str | None:
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "triton does not work on this GPU"
    return None if any(map(shutil.which, ("c++", "g++", "clang++"))) else "there is no C++ compiler"
