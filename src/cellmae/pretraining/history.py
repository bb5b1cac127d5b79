"""What training reports of itself: a row every few steps, in a table that plots and tests read."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cellmae.errors import ConfigError, DataError
from cellmae.files import atomic_path, write_csv
from cellmae.models.devices import peak_memory_mb

MEASURED_COLUMNS = ("crops_per_second", "devices", "data_wait", "flop_utilisation", "memory_mb")
"""Columns that differ between two runs of the same training."""

STEPS_PER_ROW = 50
ROWS_AT_LEAST = 100  # where there are as many steps


class History:
    """Means of the metrics over every few steps, and how fast they went.

    Parameters
    ----------
    steps, batch_size
        Of the whole training.
    metrics
        Names of what is averaged.
    derive
        Makes further columns of the means.
    seconds_per_crop
        What a crop takes at least, at the device's full speed.
    device
        Where the metrics are summed up, to be fetched from there once a row, and whose memory is looked at.
    devices
        How many train together.
    """

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int,
        metrics: Sequence[str],
        derive: Callable[[Mapping[str, float]], Mapping[str, float]] = lambda means: {},
        seconds_per_crop: float = float("nan"),
        device: torch.device,
        devices: int = 1,
    ) -> None:
        self.steps, self.batch_size = steps, batch_size
        self.metrics, self._derive = tuple(metrics), derive
        self._seconds_per_crop = seconds_per_crop
        self._devices = devices
        self.interval = max(1, min(STEPS_PER_ROW, steps // ROWS_AT_LEAST))
        self.rows: list[dict[str, float]] = []
        self.skipped = 0
        self._sums = torch.zeros(len(self.metrics), dtype=torch.float64, device=device)
        self._counted = 0
        self._restart_clock()

    def add(self, metrics: torch.Tensor) -> None:
        """Count the metrics of a step, in their order."""
        self._sums += metrics
        self._counted += 1

    def add_skipped(self) -> None:
        """Count a step that was skipped."""
        self.skipped += 1

    def ends_row(self, done: int) -> bool:
        """Say whether a row ends when so many steps are done."""
        return done % self.interval == 0 or done == self.steps

    def is_due(self, done: int, *, times: int) -> bool:
        """Say whether the row that ends here is one of so many that are spread over the training; the last one is."""
        rows_between = -(-self.steps // (self.interval * times))
        return done == self.steps or (done // self.interval) % rows_between == 0

    def share_means(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Put the mean over all ranks in place of what was summed up here."""
        self._sums = mean(self._sums)

    def close_step(
        self, done: int, *, rate: float, waited: float, evaluated: Mapping[str, float] | None = None
    ) -> dict[str, float] | None:
        """End a step; return its row if it ends one.

        Parameters
        ----------
        done
            Steps that are done.
        rate
            Learning rate of the last.
        waited
            Seconds without data.
        evaluated
            What else its row says, where it ends one.
        """
        self._waited += waited
        self._steps_timed += 1
        if not self.ends_row(done):
            return None
        means = self._sums.tolist()  # waits for the device: all steps of the row are done before the clock is read
        seconds = time.perf_counter() - self._started
        row: dict[str, float] = {"step": done, "crops": done * self.batch_size, "learning_rate": rate}
        averages = {
            name: total / self._counted if self._counted else float("nan")
            for name, total in zip(self.metrics, means, strict=True)
        }
        row |= averages
        row |= self._derive(averages)
        row["skipped"] = self.skipped
        row |= evaluated or {}
        row["crops_per_second"] = self._steps_timed * self.batch_size / seconds
        row["devices"] = self._devices
        row["data_wait"] = self._waited / seconds
        row["flop_utilisation"] = row["crops_per_second"] * self._seconds_per_crop
        row["memory_mb"] = peak_memory_mb(self._sums.device)
        self.rows.append(row)
        self._sums = torch.zeros_like(self._sums)
        self._counted = 0
        self._restart_clock()
        return row

    def state(self, mean: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Return what a checkpoint keeps; ``mean`` makes one of what all ranks have summed up."""
        return {
            "rows": self.rows,
            "skipped": self.skipped,
            "sums": mean(self._sums).cpu(),
            "counted": self._counted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.rows = list(state["rows"])
        self.skipped = state["skipped"]
        self._sums = state["sums"].to(self._sums.device)
        self._counted = state["counted"]

    def write(self, path: str | Path) -> None:
        """Write the rows as CSV; numbers read back are the numbers written."""
        table = pd.DataFrame(self.rows)
        measured_last = [column for column in table if column not in MEASURED_COLUMNS] + list(MEASURED_COLUMNS)
        write_csv(path, table.reindex(columns=measured_last))

    def write_events(self, folder: str | Path) -> None:
        """Write the rows as TensorBoard events, in a folder of their own."""
        SummaryWriter = require_tensorboard()
        with atomic_path(folder) as partial, SummaryWriter(str(partial)) as writer:
            for row in self.rows:
                for name, value in row.items():
                    if name not in ("step", "crops"):
                        writer.add_scalar(name, value, global_step=int(row["crops"]))

    def summary(self) -> dict[str, float]:
        """Return what the last row says of the result: no times, so that the same training says the same."""
        if not self.rows:
            return {"skipped_steps": self.skipped}
        last = self.rows[-1]
        return {"skipped_steps": last["skipped"]} | {
            name: last[name]
            for name in last
            if name in ("loss", "mse", "masked_r2", "accuracy", "rankme") or name.startswith("eval_")
        }

    def _restart_clock(self) -> None:
        self._started = time.perf_counter()
        self._waited, self._steps_timed = 0.0, 0


def require_tensorboard() -> Any:
    """Return TensorBoard's writer; :class:`ConfigError` where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "models.tensorboard: the package tensorboard is not installed; install it, or leave the key out"
        ) from None
    return SummaryWriter


def read_history(path: str | Path) -> pd.DataFrame:
    """Read a model's ``history.csv``.

    Returns
    -------
    A row every few steps. Of all models: ``step`` and ``crops`` so far, ``learning_rate``; means since the row before
    of ``loss`` and ``gradient_norm``; ``skipped`` steps so far; how fast it went: ``crops_per_second`` on how many
    ``devices``, the share of time without data, ``data_wait``, and that of their speed in plain matrix products,
    ``flop_utilisation``; ``memory_mb``, the most that the process has had so far, of a GPU's memory or, without one, of
    the machine's; and, in some rows, what :mod:`cellmae.pretraining.evaluation` measured on the same few crops each
    time.

    Of masked models also means of ``mse``, ``fourier``, and the squared errors of two trivial guesses, zero
    (``mse_zero``) and the mean of the patches that are seen (``mse_visible_mean``); and ``masked_r2``, the share of the
    masked patches' variation that is predicted, 0 for a guess of zero. Of classifiers the mean of ``accuracy``.
    """
    try:
        return pd.read_csv(path, float_precision="round_trip")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the model is not finished; run the stage models") from None
