"""How much of the true phenotypes of a simulated screen a linear probe reads from embeddings."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cellmae.report.blocks import Block, Panels, Plot, Points, Section, Table
from cellmae.report.intervals import ROW_HEIGHT, assign_markers, draw_scores, row_labels
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import interval, intervals, listed, number, value_range


def probe_section(probes: pd.DataFrame, *, colours: Mapping[str, str]) -> Section:
    """Show the probe's R2 by model and alignment.

    Parameters
    ----------
    probes
        ``probe.csv`` of all models and alignments one below the other, with ``model`` and ``alignment``.
    """
    scored = probes.dropna(subset="r2")
    blocks: list[Block] = []
    if len(scored):
        said = "; ".join(
            f"{label} {number(r2, 2)} ({interval(low, high, 2)})"
            for label, r2, low, high in zip(
                row_labels(probes)[scored.index], scored["r2"], scored["r2_ci_low"], scored["r2_ci_high"], strict=True
            )
        )
        alt = f"R² of a linear probe with 95 % intervals: {said}."
        blocks.append(Panels([Plot("probe", probe_figure(probes, colours=colours), alt)], _caption(scored)))
    skipped = probes[probes["r2"].isna()]
    if len(skipped):
        reasons = skipped.assign(label=row_labels(probes)).groupby("reason", sort=False)["label"].agg(list)
        blocks.append(Points([f"Not scored for {listed(names)}: {reason}." for reason, names in reasons.items()]))
    return Section("probe", "Probe of the truth", [*blocks, _table(probes)])


def probe_figure(probes: pd.DataFrame, *, colours: Mapping[str, str]) -> Figure:
    """Draw the probe's R2 by model and alignment."""
    figure, (axes,) = new_figure(4.6, 0.85 + ROW_HEIGHT * len(probes))
    markers = assign_markers(list(dict.fromkeys(probes["alignment"])))
    draw_scores(axes, probes, value="r2", colours=colours, markers=markers)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(min(0.0, float(np.nanmin(probes[["r2", "r2_ci_low"]]))) - 0.02, 1.02)
    axes.set_xlabel("R² on held-out plates")
    return figure


def _caption(scored: pd.DataFrame) -> str:
    return (
        "Share of the variance of the true phenotypes, known because the screen is simulated, that a linear probe "
        "predicts from aligned wells on plates that it was not fitted on; further right is better, 1 is perfect and 0 "
        "a guess of the mean. Lines are 95 % intervals from resampling perturbations. Rests on "
        f"{value_range(scored['wells'])} wells of {value_range(scored['genes'])} perturbations."
    )


def _table(probes: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            "Model": probes["model"],
            "Alignment": probes["alignment"],
            "R²": probes["r2"],
            "95 % interval": intervals(probes, "r2"),
            "Wells": probes["wells"],
            "Perturbations": probes["genes"],
            "Plates": probes["plates"],
            "Folds": probes["folds"],
        }
    )
    formats = {"R²": "{:z.3f}", "95 % interval": "{}"} | dict.fromkeys(shown.columns[4:], "{:,.0f}")
    return Table("probe", probes, shown, "Linear probe of the true phenotypes, ridge regression.", formats)
