"""A training's state - weights, optimizer, history - and the step that moves it on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cellmae.errors import DataError
from cellmae.logging import logger
from cellmae.models import uses_bfloat16
from cellmae.models.adabn import put_statistics, take_statistics
from cellmae.models.drop_path import draw_paths, drop_paths
from cellmae.pretraining.compilation import compiled
from cellmae.pretraining.compute import flops_per_crop
from cellmae.pretraining.evaluation import Evaluation
from cellmae.pretraining.history import History
from cellmae.pretraining.objective import Objective
from cellmae.pretraining.optimizers import build_optimizer, set_schedule
from cellmae.pretraining.plan import Plan
from cellmae.pretraining.randomness import path_draws
from cellmae.pretraining.ranks import Ranks
from cellmae.pretraining.throughput import peak_flops

EVALUATIONS = 20  # in a training
MAX_SKIPPED_IN_A_ROW = 10


class Trainer:
    """Trains a model step by step; where it stands is all in :meth:`state`.

    Parameters
    ----------
    objective
        The model, with its initial weights, and its loss; it is trained in place.
    plan
        The training keys of the configuration.
    device
        Where to train.
    ranks
        This process among those that train together; each takes its part of every batch.
    evaluation
        What is measured along the way.
    """

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        device: torch.device,
        *,
        ranks: Ranks | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        self.plan, self.device, self.ranks, self.evaluation = plan, device, ranks or Ranks(), evaluation
        self.step = 0
        self.skipped_in_a_row = 0
        self.objective = objective.to(device).train()
        self.optimizer = build_optimizer(objective.model, plan)
        self.average = WeightAverage(objective.model, plan.ema) if plan.ema else None
        self.autocast = uses_bfloat16(plan.precision, device)
        if self.autocast and device.type == "cpu":
            split_attention(objective)
        self.flops_per_crop = flops_per_crop(objective)
        peak = peak_flops(device, torch.bfloat16 if self.autocast else torch.float32)
        self.history = History(
            steps=plan.steps,
            batch_size=plan.batch_size,
            metrics=("loss", "gradient_norm", *objective.METRICS),
            derive=objective.derive,
            seconds_per_crop=self.flops_per_crop / peak / self.ranks.count,
            device=device,
            devices=self.ranks.count,
        )
        self._paths = drop_paths(objective)
        self._compute = compiled(objective, plan.compile, device)
        if self.ranks.count > 1:
            # Compiled first, wrapped then, so that the step stays one graph; gradients are exchanged at its end.
            self._compute = DistributedDataParallel(
                self._compute,
                device_ids=[device.index] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
            )
        self._last_end = time.perf_counter()

    def take_step(self, crops: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        """Train on the next step's batch, or this rank's part of it.

        Parameters
        ----------
        crops
            (crops, channels, size, size) uint8.
        labels
            Their classes (crops,), for a classifier.
        """
        waited = time.perf_counter() - self._last_end
        rate = set_schedule(self.optimizer.param_groups, self.plan, self.step)
        inputs, draws = self._inputs(crops, labels)
        statistics = take_statistics(self.objective)
        self.optimizer.zero_grad()
        loss, metrics = self._accumulate(inputs, draws)
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.plan.gradient_clip or float("inf"))
        (failed,) = self.ranks.any(~torch.isfinite(loss + norm), device=self.device)
        # This waits for the device, and so for all that was copied from the loader's buffers: they may be used again.
        if failed:
            put_statistics(self.objective, statistics)
            self._skip()
        else:
            self.optimizer.step()
            self.history.add(torch.cat([loss.view(1), norm.view(1), metrics]))
            self.skipped_in_a_row = 0
            if self.average is not None:
                self.average.update()
        self._close_step(rate=rate, waited=waited)
        self._last_end = time.perf_counter()

    def restart_wait(self) -> None:
        """Do not count what has been done since the last step as waiting for data."""
        self._last_end = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return all that :meth:`restore` needs; all ranks call this together, and one of them keeps it."""
        return {
            "model": self.objective.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": {"values": self.average.values, "steps": self.average.steps}
            if self.average is not None
            else None,
            "history": self.history.state(self.ranks.mean),
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint, with its ``step``."""
        self.objective.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.values, self.average.steps = state["average"]["values"], state["average"]["steps"]
        self.history.restore(state["history"])
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.step = state["step"]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights in the model, where the plan asks for an average, else the trained ones."""
        with self.average.in_place() if self.average is not None else nullcontext():
            yield

    def _inputs(
        self, crops: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """Return what the objective takes, and the draws of the dropped paths, on the device."""
        seed, whole = self.plan.seed, {"batch_size": self.plan.batch_size}
        part = self.ranks.part(self.plan.batch_size)
        chance = [torch.from_numpy(values[part]) for values in self.objective.chance(seed, self.step, **whole)]
        given = [crops, *chance, *([] if labels is None else [labels])]
        inputs = tuple(tensor.to(self.device, non_blocking=True) for tensor in given)
        if not self._paths:
            return inputs, None
        uniform = path_draws(seed, self.step, **whole, paths=len(self._paths))[part]
        return inputs, torch.from_numpy(np.ascontiguousarray(uniform)).to(self.device)

    def _accumulate(
        self, inputs: tuple[torch.Tensor, ...], draws: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up the gradients of the batch's pieces; return mean loss and metrics."""
        count = self.plan.accumulate
        pieces = list(zip(*(tensor.chunk(count) for tensor in inputs), strict=True))
        results = []
        for number, piece in enumerate(pieces):
            if draws is not None:
                draw_paths(self._paths, draws.chunk(count)[number])
            last = number == count - 1
            waits = isinstance(self._compute, DistributedDataParallel) and not last
            with self._compute.no_sync() if waits else nullcontext(), self._autocast():  # type: ignore[operator, union-attr]
                loss, metrics = self._compute(*piece)
                (loss / count).backward()
            results.append(torch.cat([loss.detach().view(1), metrics]))
        mean = torch.stack(results).mean(dim=0)
        return mean[0], mean[1:]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

    def _skip(self) -> None:
        self.history.add_skipped()
        self.skipped_in_a_row += 1
        logger.warning("step %d: the loss or its gradient is not finite; skipped", self.step)
        if self.skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
            raise DataError(
                f"the loss was not finite in {MAX_SKIPPED_IN_A_ROW} steps in a row, up to step {self.step}; the last "
                "good checkpoint is kept: lower models.learning_rate, or set models.precision to float32"
            )

    def _close_step(self, *, rate: float, waited: float) -> None:
        """Count the step that was just taken; where it ends a row of the history, say what else belongs there."""
        self.step += 1
        evaluated = None
        if self.history.ends_row(self.step):
            self.history.share_means(self.ranks.mean)
            if self.evaluation is not None and self.history.is_due(self.step, times=EVALUATIONS):
                with self.averaged(), self._autocast():
                    evaluated = self.evaluation(self.objective)
        self.history.close_step(self.step, rate=rate, waited=waited, evaluated=evaluated)


class WeightAverage:
    """Exponential moving average of a model's weights, to embed with.

    Parameters
    ----------
    model
        Whose weights, and running statistics, are averaged.
    decay
        Weight of the average so far in each step; in the first steps it is lower, (1 + n) / (10 + n) in the n-th.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in self._averaged().items()}

    def _averaged(self) -> dict[str, torch.Tensor]:
        return {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}

    def update(self) -> None:
        """Take the weights of another step into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.values.values()), list(self._averaged().values()), 1 - decay)
        self.steps += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold the average in the model, and put the weights back afterwards."""
        trained = {name: value.clone() for name, value in self._averaged().items()}
        self.model.load_state_dict(self.values, strict=False)
        try:
            yield
        finally:
            self.model.load_state_dict(trained, strict=False)


def split_attention(model: nn.Module) -> None:
    """Let timm's blocks multiply, softmax and multiply: PyTorch's fused attention is ten times slower at it.

    That holds for the backward pass in bfloat16 on CPUs; elsewhere the fused one is at least as fast.
    """
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
