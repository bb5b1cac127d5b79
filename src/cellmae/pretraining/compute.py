"""What a training costs in operations, from the shapes of its layers alone: nothing is computed, no device needed."""

import copy
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import nn

from cellmae.models import build_encoder
from cellmae.models.channel_agnostic import CrossAttention
from cellmae.pretraining.objective import Objective, build_objective
from cellmae.pretraining.plan import Plan

EXAMPLES = 2  # crops; batch normalisation wants more than one
MULTIPLY_ADD = 2


def training_flops(spec: Mapping[str, Any], *, channels: int, crop_size: int) -> float:
    """Estimate the operations of a training before there is anything to train on.

    Parameters
    ----------
    spec
        Configuration of the model. Classifiers are counted with one class, whose number the plates will tell.
    channels, crop_size
        Number of channels, and edge of the crops in pixels.
    """
    plan = Plan.from_spec(spec)
    with torch.device("meta"):
        encoder = build_encoder(spec, channels=channels, crop_size=crop_size)
        objective = build_objective(spec["family"], encoder, plan, classes=1)
    return flops_per_crop(objective) * plan.crops_total


def flops_per_crop(objective: Objective) -> float:
    """Count the operations of forward and backward pass for one crop of training, two a multiply-add.

    Counted are matrix products, convolutions and attention of the model, as is usual; norms, activations and the loss
    are not. A layer takes as many operations for the gradient of its weights as forwards, and as many again for that of
    its input, where something in front of it is trained.

    Parameters
    ----------
    objective
        A model and its loss, on any device; it stays as it is.
    """
    shapes = copy.deepcopy(objective.model).to("meta").eval()  # every path is taken
    counts: list[float] = []
    for module in shapes.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda layer, inputs, output: counts.append(_layer(layer, inputs[0], output)))
        elif hasattr(module, "fused_attn"):
            module.register_forward_hook(lambda block, inputs, _: counts.append(_attention(block, inputs)))
    shapes(*(tensor.to("meta") for tensor in objective.example(EXAMPLES)))
    return sum(counts) / EXAMPLES


def _layer(layer: Any, entering: torch.Tensor, leaving: torch.Tensor) -> float:
    """Operations of a linear or convolutional layer: each number that leaves is a sum of products."""
    terms = prod(layer.weight.shape[1:])
    passes = 1 + layer.weight.requires_grad + entering.requires_grad
    return MULTIPLY_ADD * terms * leaving.numel() * passes


def _attention(block: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """Operations of the products of queries with keys, and of their weights with values; all are trained."""
    queries, context = inputs if isinstance(block, CrossAttention) else (inputs[0], inputs[0])
    products = 2 * queries.numel() * context.shape[1]
    return MULTIPLY_ADD * products * 3
