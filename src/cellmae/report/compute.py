"""Recall against the computing that training took, where models of several sizes or lengths of training ran."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cellmae.report.blocks import Block, Panels, Plot, Section, Table
from cellmae.report.intervals import assign_markers, row_labels
from cellmae.report.recall import BY_DATABASE, tails
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import intervals, number

FEWEST_POINTS = 2


def compute_sections(
    scores: pd.DataFrame, flops: Mapping[str, float], *, lines: Mapping[str, str], colours: Mapping[str, str]
) -> list[Section]:
    """Show recall against training compute; nothing where fewer than two trained models differ in it.

    Parameters
    ----------
    scores
        ``recall.csv`` of all models and alignments one below the other, with ``model`` and ``alignment``.
    flops
        Operations of the training, by model; of a point on the way, so far.
    lines
        What models belong together, such as a line of a study, or a model and the points on the way to it.
    """
    table = scores.assign(
        label=row_labels(scores), flops=scores["model"].map(flops), line=scores["model"].map(lines)
    ).dropna(subset=["recall", "flops"])
    if table["flops"].nunique() < FEWEST_POINTS:
        return []
    markers = assign_markers(list(dict.fromkeys(table["alignment"])))
    plots = [
        Plot(
            f"compute-{place}",
            compute_figure(group, colours=colours, markers=markers),
            alt=f"Recall of {source} against training compute: "
            + "; ".join(
                f"{label} {number(recall, 2)} at {flop:.1e} operations"
                for label, recall, flop in zip(group["label"], group["recall"], group["flops"], strict=True)
            )
            + ".",
            title=f"{source}, tails {tails(*group[['low', 'high']].iloc[0])}",
        )
        for place, ((source, *_), group) in enumerate(table.groupby(BY_DATABASE, sort=False), start=1)
    ]
    caption = (
        "Recall against the operations of the whole training (forward and backward passes, two operations a "
        "multiply-add), on a scale of powers of ten. Upright lines are 95 % intervals, dotted: chance. Models that "
        "belong together are connected; a point on the way to a model stands in the middle of its schedule, where the "
        "learning rate is still high."
    )
    blocks: list[Block] = [Panels(plots, caption), _table(table)]
    return [Section("compute", "Recall and training compute", blocks)]


def compute_figure(scores: pd.DataFrame, *, colours: Mapping[str, str], markers: Mapping[str, str]) -> Figure:
    """Draw the recall of one database against training compute.

    Parameters
    ----------
    scores
        Rows with one source and one pair of thresholds, with ``label``, ``line`` and ``flops``.
    """
    figure, (axes,) = new_figure(4.0, 3.2)
    for (_, alignment), line in scores.sort_values("flops").groupby(["line", "alignment"], sort=False):
        colour, flops = colours[line["model"].iloc[0]], line["flops"]
        axes.vlines(flops, line["recall_ci_low"], line["recall_ci_high"], color=colour, linewidth=2.2)
        axes.plot(flops, line["recall"], color=colour, linewidth=1)
        axes.plot(flops, line["recall"], markers[str(alignment)], color=colour, markersize=7)
        name = line["label"].iloc[-1] if line["model"].nunique() == 1 else line["line"].iloc[-1]
        axes.annotate(
            name,
            (flops.iloc[-1], line["recall"].iloc[-1]),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axhline(scores["chance"].mean(), color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    low, high = np.log10([scores["flops"].min(), scores["flops"].max()])
    axes.set_xlim(10 ** (low - 0.2), 10 ** (high + 0.8))  # room for names
    axes.set(xlabel="operations of training", ylabel="recall", ylim=(0, 1.02))
    axes.grid(axis="y")
    return figure


def _table(scores: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            "Database": scores["source"],
            "Tails": [tails(low, high) for low, high in zip(scores["low"], scores["high"], strict=True)],
            "Model": scores["model"],
            "Alignment": scores["alignment"],
            "Operations": scores["flops"],
            "Recall": scores["recall"],
            "95 % interval": intervals(scores, "recall"),
        }
    )
    frame = scores[
        ["source", "low", "high", "model", "alignment", "flops", "recall", "recall_ci_low", "recall_ci_high"]
    ]
    formats = {"Operations": "{:.2e}", "Recall": "{:z.3f}", "95 % interval": "{}"}
    return Table("compute", frame, shown, "Recall and the operations of training.", formats)
