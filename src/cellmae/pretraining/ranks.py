"""Several processes that train one model together: each has a part of every batch, all have the same weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes
    ----------
    rank, count
        Its number, from 0, and how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """Return this rank's crops of a batch."""
        share = batch_size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of all ranks' values."""
        if self.count == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, *flags: torch.Tensor | bool, device: torch.device) -> list[bool]:
        """Say of each flag whether it is raised on some rank: all ranks decide alike."""
        if self.count == 1:
            return [bool(flag) for flag in flags]
        raised = torch.stack([torch.as_tensor(flag, device=device).float() for flag in flags])
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return [value > 0 for value in raised.tolist()]


@contextmanager
def join_ranks(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the processes that ``torchrun`` started, if any; yield the place among them, and the device to use."""
    if not distributed.is_torchelastic_launched():
        yield Ranks(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()
