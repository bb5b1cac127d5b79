"""Scores drawn as points with their intervals, one row a model and alignment."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cellmae.report.style import MUTED

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
ROW_HEIGHT = 0.34  # inches


def row_labels(scores: pd.DataFrame) -> pd.Series:
    """Name each row of a whole table of scores: the model, and the alignment where there are several."""
    models, alignments = scores["model"].astype(str), scores["alignment"].astype(str)
    return models if alignments.nunique() == 1 else models + " · " + alignments


def assign_markers(alignments: Sequence[str]) -> dict[str, str]:
    """Give each alignment a marker; they repeat after seven."""
    return {name: MARKERS[number % len(MARKERS)] for number, name in enumerate(alignments)}


def draw_intervals(
    axes: Axes,
    scores: pd.DataFrame,
    *,
    value: str,
    labels: Sequence[str],
    colours: Sequence[str],
    markers: Sequence[str],
) -> None:
    """Draw a point with its interval for each row, top to bottom; "not scored" where there is none.

    Parameters
    ----------
    scores
        Columns ``{value}``, ``{value}_ci_low`` and ``{value}_ci_high``.
    labels, colours, markers
        One a row.
    """
    columns = [value, f"{value}_ci_low", f"{value}_ci_high"]
    for place, (middle, low, high) in enumerate(scores[columns].astype(float).itertuples(index=False, name=None)):
        if np.isnan(middle):
            across = axes.get_yaxis_transform()
            axes.text(0.02, place, "not scored", transform=across, color=MUTED, va="center", fontsize=9)
            continue
        axes.plot([low, high], [place, place], color=colours[place], linewidth=2.2, solid_capstyle="round")
        axes.plot(middle, place, markers[place], color=colours[place], markersize=7)
    axes.set_yticks(range(len(scores)), labels)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x")


def draw_scores(
    axes: Axes, scores: pd.DataFrame, *, value: str, colours: Mapping[str, str], markers: Mapping[str, str]
) -> None:
    """Draw the scores of models and alignments in their colours and markers."""
    draw_intervals(
        axes,
        scores,
        value=value,
        labels=row_labels(scores).tolist(),
        colours=[colours[model] for model in scores["model"]],
        markers=[markers[alignment] for alignment in scores["alignment"]],
    )
