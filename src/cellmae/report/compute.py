"""Recall against the computing that training took, where models of several sizes or lengths of training ran."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cellmae.report.blocks import Block, Panels, Plot, Section, Table
from cellmae.report.intervals import assign_markers, row_labels
from cellmae.report.recall import BY_DATABASE, tails
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import intervals, number

FEWEST_POINTS = 2


def training_flops(record: Mapping[str, Any]) -> float:
    """Count the operations of a model's training, two a multiply-add: forward and backward passes of all its crops.

    The model is built of tensors without memory, so that a large one costs no more than a small one.

    Parameters
    ----------
    record
        ``model.yaml`` of a trained model.

    Returns
    -------
    float
        Not a number where the operations cannot be counted.
    """
    import torch  # brings seconds, which a run without training does not need
    from torch._subclasses.fake_tensor import FakeTensorMode

    from cellmae.models import build_encoder
    from cellmae.pretraining import Plan
    from cellmae.pretraining.objective import build_objective
    from cellmae.pretraining.throughput import flops_per_crop

    spec = record["spec"]
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
        warnings.simplefilter("ignore", UserWarning)  # of copying tensors without memory
        encoder = build_encoder(spec, channels=len(record["channels"]), crop_size=record["crop_size"])
        objective = build_objective(spec["family"], encoder, Plan.from_spec(spec), classes=1)
        return flops_per_crop(objective, torch.device("cpu")) * record["training"]["crops"]


def compute_sections(scores: pd.DataFrame, flops: Mapping[str, float], *, colours: Mapping[str, str]) -> list[Section]:
    """Show recall against training compute; nothing where fewer than two trained models differ in it.

    Parameters
    ----------
    scores
        ``recall.csv`` of all models and alignments one below the other, with ``model`` and ``alignment``.
    flops
        From :func:`training_flops`, by model.
    """
    table = scores.assign(label=row_labels(scores), flops=scores["model"].map(flops)).dropna(subset=["recall", "flops"])
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
        "multiply-add), on a scale of powers of ten. Lines are 95 % intervals, dotted: chance."
    )
    blocks: list[Block] = [Panels(plots, caption), _table(table)]
    return [Section("compute", "Recall and training compute", blocks)]


def compute_figure(scores: pd.DataFrame, *, colours: Mapping[str, str], markers: Mapping[str, str]) -> Figure:
    """Draw the recall of one database against training compute.

    Parameters
    ----------
    scores
        Rows with one source and one pair of thresholds, with ``label`` and ``flops``.
    """
    figure, (axes,) = new_figure(4.0, 3.2)
    for row in scores.to_dict("records"):
        colour, marker = colours[row["model"]], markers[row["alignment"]]
        axes.plot([row["flops"]] * 2, [row["recall_ci_low"], row["recall_ci_high"]], color=colour, linewidth=2.2)
        axes.plot(row["flops"], row["recall"], marker, color=colour, markersize=7)
        axes.annotate(
            row["label"],
            (row["flops"], row["recall"]),
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
