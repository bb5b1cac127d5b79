"""What training reports of itself: a row every few steps, in a table that plots and tests read."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cellmae.errors import DataError
from cellmae.files import atomic_path
from cellmae.pretraining.objective import METRICS

TIMING_COLUMNS = ("crops_per_second", "data_wait")
"""Columns that differ between two runs of the same training."""

STEPS_PER_ROW = 50
ROWS_AT_LEAST = 100  # where there are as many steps


class History:
    """Means of the metrics over every few steps, and how fast they went.

    Parameters
    ----------
    steps, batch_size
        Of the whole training.
    device
        Where the metrics are summed up; they are fetched from there once a row.
    """

    def __init__(self, *, steps: int, batch_size: int, device: torch.device) -> None:
        self.steps, self.batch_size = steps, batch_size
        self.interval = max(1, min(STEPS_PER_ROW, steps // ROWS_AT_LEAST))
        self.rows: list[dict[str, float]] = []
        self.skipped = 0
        self._sums = torch.zeros(len(METRICS), dtype=torch.float64, device=device)
        self._counted = 0
        self._restart_clock()

    def add(self, metrics: torch.Tensor) -> None:
        """Count the metrics of a step, in the order of :data:`METRICS`."""
        self._sums += metrics
        self._counted += 1

    def add_skipped(self) -> None:
        """Count a step that was skipped."""
        self.skipped += 1

    def close_step(self, step: int, *, rate: float, waited: float) -> dict[str, float] | None:
        """End a step, of learning rate ``rate``, in which data were waited for; return its row if it ends one.

        Parameters
        ----------
        step
            Number of the step, from 0.
        rate
            Its learning rate.
        waited
            Seconds without data.
        """
        self._waited += waited
        self._steps_timed += 1
        done = step + 1
        if done % self.interval and done != self.steps:
            return None
        seconds = time.perf_counter() - self._started
        row: dict[str, float] = {"step": done, "crops": done * self.batch_size, "learning_rate": rate}
        means = self._sums.tolist()
        row |= {
            name: total / self._counted if self._counted else float("nan")
            for name, total in zip(METRICS, means, strict=True)
        }
        row["masked_r2"] = 1 - row["mse"] / row["mse_zero"]
        row["skipped"] = self.skipped
        row["crops_per_second"] = self._steps_timed * self.batch_size / seconds
        row["data_wait"] = self._waited / seconds
        self.rows.append(row)
        self._sums.zero_()
        self._counted = 0
        self._restart_clock()
        return row

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "rows": self.rows,
            "skipped": self.skipped,
            "sums": self._sums.cpu(),
            "counted": self._counted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.rows = list(state["rows"])
        self.skipped = state["skipped"]
        self._sums.copy_(state["sums"])
        self._counted = state["counted"]

    def write(self, path: str | Path) -> None:
        """Write the rows as CSV; numbers read back are the numbers written."""
        with atomic_path(path) as partial:
            pd.DataFrame(self.rows).to_csv(partial, index=False)

    def _restart_clock(self) -> None:
        self._started = time.perf_counter()
        self._waited, self._steps_timed = 0.0, 0


def read_history(path: str | Path) -> pd.DataFrame:
    """Read a model's ``history.csv``.

    Returns
    -------
    A row every few steps: ``step`` and ``crops`` so far, ``learning_rate``; means since the row before of ``loss``,
    ``mse``, ``fourier``, ``gradient_norm``, and of the squared errors of two trivial guesses, zero (``mse_zero``) and
    the mean of the patches that are seen (``mse_visible_mean``); ``masked_r2``, the share of the masked patches'
    variation that is predicted, 0 for a guess of zero; ``skipped`` steps so far; and how fast it went:
    ``crops_per_second``, and the share of time without data, ``data_wait``.
    """
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the model is not finished; run the stage models") from None
