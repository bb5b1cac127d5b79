"""A training's state - weights, optimizer, history - and the step that moves it on."""

import time
from typing import Any

import torch
from torch import nn

from cellmae.errors import DataError
from cellmae.logging import logger
from cellmae.models import MaskedAutoencoder
from cellmae.pretraining.history import History
from cellmae.pretraining.objective import Objective
from cellmae.pretraining.optimizers import build_optimizer, set_schedule
from cellmae.pretraining.plan import Plan
from cellmae.pretraining.randomness import masking_noise, orientations, seed_drop_path

MAX_SKIPPED_IN_A_ROW = 10


class Trainer:
    """Trains a masked autoencoder step by step; where it stands is all in :meth:`state`.

    Parameters
    ----------
    autoencoder
        With its initial weights; it is trained in place.
    plan
        The training keys of the configuration.
    device
        Where to train.
    """

    def __init__(self, autoencoder: MaskedAutoencoder, plan: Plan, device: torch.device) -> None:
        self.autoencoder, self.plan, self.device = autoencoder, plan, device
        self.step = 0
        self.skipped_in_a_row = 0
        self.objective = Objective(autoencoder, fourier_weight=plan.fourier_weight).to(device).train()
        self.optimizer = build_optimizer(autoencoder, plan)
        self.history = History(steps=plan.steps, batch_size=plan.batch_size, device=device)
        self.autocast = uses_bfloat16(plan.precision, device)
        if self.autocast and device.type == "cpu":
            split_attention(autoencoder)
        self._compute = torch.compile(self.objective, fullgraph=True) if plan.compile else self.objective
        self._last_end = time.perf_counter()

    def take_step(self, crops: torch.Tensor) -> None:
        """Train on the crops (batch, channels, size, size) uint8 of the next step."""
        waited = time.perf_counter() - self._last_end
        plan, step = self.plan, self.step
        chance = {"batch_size": plan.batch_size}
        noise = torch.from_numpy(masking_noise(plan.seed, step, tokens=self.autoencoder.encoder.tokens, **chance))
        orientation = torch.from_numpy(orientations(plan.seed, step, **chance))
        rate = set_schedule(self.optimizer.param_groups, plan, step)
        seed_drop_path(plan.seed, step)

        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            loss, metrics = self._compute(crops.to(self.device), orientation.to(self.device), noise.to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.autoencoder.parameters(), plan.gradient_clip or float("inf"))
        if torch.isfinite(loss + norm):
            self.optimizer.step()
            self.history.add(torch.cat([metrics[:3], norm.view(1), metrics[3:]]))
            self.skipped_in_a_row = 0
        else:
            self._skip()
        self.step += 1
        self.history.close_step(step, rate=rate, waited=waited)
        self._last_end = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return all that :meth:`restore` needs."""
        return {
            "autoencoder": self.autoencoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history.state(),
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint, with its ``step``."""
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.restore(state["history"])
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.step = state["step"]

    def _skip(self) -> None:
        self.history.add_skipped()
        self.skipped_in_a_row += 1
        logger.warning("step %d: the loss or its gradient is not finite; skipped", self.step)
        if self.skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
            raise DataError(
                f"the loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row, up to step {self.step}; the last "
                "good checkpoint is kept: lower models.learning_rate, or set models.precision to float32"
            )


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether matrix products are done in bfloat16; ``auto`` does so where the hardware multiplies it faster."""
    if precision == "auto":
        return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return precision == "bfloat16"


def split_attention(model: nn.Module) -> None:
    """Let timm's blocks multiply, softmax and multiply: PyTorch's fused attention is ten times slower at it.

    That holds for the backward pass in bfloat16 on CPUs; elsewhere the fused one is at least as fast.
    """
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
