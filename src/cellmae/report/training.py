"""How models were trained: the course of their losses, and what they make of masked crops."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from cellmae.report.blocks import Panels, Picture, Plot, Section, Table
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import listed, number

FEWEST_NAMED = 2


def r2_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw R2 on masked patches against the crops seen, above two guesses that need no training.

    Parameters
    ----------
    histories
        ``history.csv`` by model.
    """
    figure, axes = _new_curves(histories, "R² on masked patches")
    for model, history in histories.items():
        axes.plot(history["crops"], history["masked_r2"], color=colours[model], linewidth=1.8, label=model)
        axes.plot(history["crops"], visible_mean_r2(history), color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    last = next(iter(histories.values())).iloc[[-1]]
    visible = visible_mean_r2(last).item()
    for name, height, below in (("mean of visible patches", visible, visible < 0), ("zero", 0.0, False)):
        axes.annotate(
            name,
            (last["crops"].item(), height),
            xytext=(0, -4 if below else 2),
            textcoords="offset points",
            ha="right",
            va="top" if below else "baseline",
            color=MUTED,
            fontsize=9,
        )
    highest = max(history["masked_r2"].max() for history in histories.values())
    axes.set_ylim(min(visible, 0) - 0.1, min(1.0, max(0.3, 1.1 * highest)))
    return _with_legend(figure, axes, histories)


def loss_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw the loss (solid) and the squared error in it (dotted) against the crops seen."""
    figure, axes = _new_curves(histories, "loss, squared error")
    for model, history in histories.items():
        axes.plot(history["crops"], history["loss"], color=colours[model], linewidth=1.8, label=model)
        axes.plot(history["crops"], history["mse"], color=colours[model], linewidth=1.4, linestyle=(0, (1, 1.5)))
    return _with_legend(figure, axes, histories)


def fourier_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw the Fourier term of the loss against the crops seen."""
    figure, axes = _new_curves(histories, "Fourier term")
    for model, history in histories.items():
        axes.plot(history["crops"], history["fourier"], color=colours[model], linewidth=1.8, label=model)
    return _with_legend(figure, axes, histories)


def trained_in_words(histories: Mapping[str, pd.DataFrame]) -> str:
    """Say how much of masked patches each model predicts at the end of its training."""
    ends = [f"{model} {number(history['masked_r2'].iloc[-1], 2)}" for model, history in histories.items()]
    return f"R² on masked patches at the end of training (a guess of zero has 0): {listed(ends)}."


def _new_curves(histories: Mapping[str, pd.DataFrame], label: str) -> tuple[Figure, Axes]:
    figure, (axes,) = new_figure(3.7, 2.9 + (0.2 * len(histories) if len(histories) >= FEWEST_NAMED else 0))
    axes.set(xlabel="crops seen", ylabel=label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y")
    return figure, axes


def _with_legend(figure: Figure, axes: Axes, histories: Mapping[str, pd.DataFrame]) -> Figure:
    if len(histories) >= FEWEST_NAMED:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
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
    curves = (
        ("training-r2", "R² on masked patches", "masked_r2", r2_figure),
        ("training-loss", "Loss (solid) and squared error (dotted)", "loss", loss_figure),
        ("training-fourier", "Fourier term", "fourier", fourier_figure),
    )
    plots = [
        Plot(
            name,
            draw(histories, colours=colours),
            alt=f"{title} against crops seen. {_ends_in_words(histories, column)}",
            title=title,
        )
        for name, title, column, draw in curves
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
