"""Optimizers, and which parameters decay."""

from collections.abc import Iterable

import torch
from timm.optim.lion import Lion
from torch import nn

from cellmae.pretraining.plan import Plan
from cellmae.pretraining.schedule import first_beta, learning_rate


def build_optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Build the plan's optimizer with two groups of parameters: matrices, which decay, and the rest."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if is_matrix(parameter)]
    spared = [parameter for parameter in trained if not is_matrix(parameter)]
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    betas = (plan.betas[0], plan.betas[1])
    if plan.optimizer == "lion":
        return Lion(groups, lr=plan.learning_rate, betas=betas, foreach=True)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=betas, fused=True)


def is_matrix(parameter: torch.Tensor) -> bool:
    """Tell weight matrices from biases, norms, scales and single tokens, (1, 1, width)."""
    return sum(length > 1 for length in parameter.shape) > 1


def set_schedule(groups: Iterable[dict], plan: Plan, step: int) -> float:
    """Set learning rate and, if it is cycled, the first beta for a step; return the learning rate."""
    rate = learning_rate(step, steps=plan.steps, peak=plan.learning_rate, warmup=plan.warmup)
    beta = plan.betas[0]
    if plan.cycle_momentum:
        beta = first_beta(step, steps=plan.steps, beta=beta, warmup=plan.warmup)
    for group in groups:
        group["lr"] = rate
        group["betas"] = (beta, plan.betas[1])
    return rate
