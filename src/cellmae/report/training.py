"""How models were trained: the course of their losses, and what they make of masked crops."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from cellmae.report.blocks import Panels, Picture, Plot, Section, Table
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import listed

CURVES = {
    "masked_r2": "Masked R²",
    "loss": "Loss",
    "mse": "Squared error",
    "fourier": "Fourier term",
}


def curve_figure(histories: Mapping[str, pd.DataFrame], column: str, *, colours: Mapping[str, str]) -> Figure:
    """Draw one column of ``history.csv`` against the crops seen, a line a model.

    With ``masked_r2`` come the two guesses that need no training: zero, and the mean of the visible patches.
    """
    figure, (axes,) = new_figure(4.4, 3.0)
    for model, history in histories.items():
        axes.plot(history["crops"], history[column], color=colours[model], linewidth=1.8, label=model)
    if column == "masked_r2":
        axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        for history in histories.values():
            axes.plot(
                history["crops"], visible_mean_r2(history), color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label="_"
            )
        axes.plot([], [], color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label="mean of visible patches")
        axes.plot([], [], color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label="zero")
        highest = max(history[column].max() for history in histories.values())
        axes.set_ylim(-0.1, min(1.0, highest * 1.1 + 0.05))
    if column == "masked_r2" or len(histories) > 1:
        figure.legend(loc="outside lower left", ncols=2)
    axes.set(xlabel="crops seen", ylabel=CURVES[column])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y")
    return figure


def visible_mean_r2(history: pd.DataFrame) -> pd.Series:
    """R2 on masked patches of guessing the mean of the visible ones."""
    return 1 - history["mse_visible_mean"] / history["mse_zero"]


def training_section(
    histories: Mapping[str, pd.DataFrame], reconstructions: Mapping[str, Path], *, colours: Mapping[str, str]
) -> Section:
    """Show the training of each trained model.

    Parameters
    ----------
    histories
        ``history.csv`` by model, as :func:`cellmae.pretraining.read_history` returns it.
    reconstructions
        ``reconstructions.png`` by model.
    """
    plots = [
        Plot(
            f"training-{column.replace('_', '-')}",
            curve_figure(histories, column, colours=colours),
            alt=f"{title} during training. " + _ends_in_words(histories, column),
            title=title,
        )
        for column, title in CURVES.items()
    ]
    caption = (
        "Means over the steps between two rows of history.csv, on masked patches of standardised crops. Read the R² "
        "first: 0 is a guess of zero, the dashed line the mean of the visible patches, and a model has learned "
        "something beyond brightness once it is clear of it; a curve that still rises would gain from more crops. The "
        "loss is the weighted sum of squared error and Fourier term."
    )
    pictures = [
        Picture(
            f"reconstructions-{model}",
            path,
            alt=f"Crops as seen, masked and reconstructed by the model {model}, channel by channel.",
            title=model,
        )
        for model, path in reconstructions.items()
    ]
    pictures_caption = (
        "What each model makes of crops of which it sees only the unmasked patches. Look for structure inside "
        "the masked patches: outlines and positions come first, texture late."
    )
    return Section(
        "training",
        "Training",
        [Panels(plots, caption), _ends_table(histories), Panels(pictures, pictures_caption, size="wide")],
    )


def _ends_in_words(histories: Mapping[str, pd.DataFrame], column: str) -> str:
    return (
        listed(
            [
                f"{model} goes from {history[column].iloc[0]:.3f} to {history[column].iloc[-1]:.3f}"
                for model, history in histories.items()
            ]
        )
        + "."
    )


def _ends_table(histories: Mapping[str, pd.DataFrame]) -> Table:
    frame = pd.concat([history.assign(model=model) for model, history in histories.items()], ignore_index=True)
    last = pd.DataFrame([{"model": model, **history.iloc[-1]} for model, history in histories.items()])
    shown = pd.DataFrame(
        {
            "Model": last["model"],
            "Steps": last["step"],
            "Crops": last["crops"],
            "Masked R²": last["masked_r2"],
            "R² of visible mean": visible_mean_r2(last),
            "Loss": last["loss"],
            "Squared error": last["mse"],
            "Fourier term": last["fourier"],
            "Skipped steps": last["skipped"],
        }
    )
    formats = dict.fromkeys(shown.columns[1:], "{:z.3f}") | dict.fromkeys(
        ("Steps", "Crops", "Skipped steps"), "{:,.0f}"
    )
    return Table("training", frame, shown, "Where each training ended: the last row of its history.", formats)
