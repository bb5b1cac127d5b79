"""Stochastic depth whose chance comes from outside, so that a crop's paths do not depend on the batch around it."""

import torch
from torch import nn


class DropPath(nn.Module):
    """Drops a residual branch for some samples and scales it up for the others (Huang et al. 2016, arXiv 1603.09382).

    In training, :func:`draw_paths` says first which samples; in evaluation every branch is kept.

    Parameters
    ----------
    rate
        Share of the samples for which the branch is dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        # No buffer: ranks that train together would be given the first one's draws.
        self.factors = torch.empty(0)

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """Return the branch (batch, tokens, width), zero where it is dropped."""
        return branch * self.factors.to(branch.dtype) if self.training else branch


def insert_drop_path(block: nn.Module, rate: float) -> nn.Module:
    """Put stochastic depth of a rate into a timm block that was built without, and return the block."""
    if rate > 0:
        for name, _ in list(block.named_children()):
            if name.startswith("drop_path"):
                setattr(block, name, DropPath(rate))
    return block


def drop_paths(model: nn.Module) -> list[DropPath]:
    """Return the branches of a model that may be dropped, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, DropPath)]


def draw_paths(paths: list[DropPath], uniform: torch.Tensor) -> None:
    """Decide for a batch which branches are kept.

    Parameters
    ----------
    paths
        As :func:`drop_paths` returns them.
    uniform
        Numbers in 0 to 1, (batch, len(paths)): a crop's own row decides on its branches.
    """
    for path, draws in zip(paths, uniform.unbind(1), strict=True):
        path.factors = ((draws >= path.rate) / (1 - path.rate)).view(-1, 1, 1)
