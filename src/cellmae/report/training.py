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
        _plot_evaluated(axes, history, "eval_r2", colours[model])
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
    """Draw the loss (solid) and, of masked models, the squared error in it (dotted) against the crops seen."""
    figure, axes = _new_curves(histories, "loss, squared error")
    for model, history in histories.items():
        axes.plot(history["crops"], history["loss"], color=colours[model], linewidth=1.8, label=model)
        if "mse" in history:
            axes.plot(history["crops"], history["mse"], color=colours[model], linewidth=1.4, linestyle=(0, (1, 1.5)))
    return _with_legend(figure, axes, histories)


def fourier_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw the Fourier term of the loss against the crops seen."""
    figure, axes = _new_curves(histories, "Fourier term")
    for model, history in histories.items():
        axes.plot(history["crops"], history["fourier"], color=colours[model], linewidth=1.8, label=model)
    return _with_legend(figure, axes, histories)


def accuracy_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw the share of crops whose perturbation is told against the crops seen."""
    figure, axes = _new_curves(histories, "accuracy")
    for model, history in histories.items():
        axes.plot(history["crops"], history["accuracy"], color=colours[model], linewidth=1.8, label=model)
        _plot_evaluated(axes, history, "eval_accuracy", colours[model])
    return _with_legend(figure, axes, histories)


def rankme_figure(histories: Mapping[str, pd.DataFrame], *, colours: Mapping[str, str]) -> Figure:
    """Draw the effective rank of the embeddings against the crops seen."""
    figure, axes = _new_curves(histories, "RankMe")
    for model, history in histories.items():
        _plot_evaluated(axes, history, "rankme", colours[model], label=model)
    return _with_legend(figure, axes, histories)


def _plot_evaluated(axes: Axes, history: pd.DataFrame, column: str, colour: str, label: str | None = None) -> None:
    """Draw what was measured now and then, on crops that are set aside, as points on a line."""
    if column in history:
        rows = history.dropna(subset=[column])
        axes.plot(
            rows["crops"], rows[column], color=colour, linewidth=0.8, marker="o", markersize=2.6, alpha=0.8, label=label
        )


def trained_in_words(histories: Mapping[str, pd.DataFrame]) -> str:
    """Say how much of masked patches, or of perturbations, each model tells at the end of its training."""
    ends = {
        "R² on masked patches at the end of training (a guess of zero has 0)": _of(histories, "masked_r2"),
        "Share of training crops whose perturbation is told at the end": _of(histories, "accuracy"),
    }
    return " ".join(
        f"{text}: {listed([f'{model} {number(history[column].iloc[-1], 2)}' for model, history in chosen.items()])}."
        for (text, chosen), column in zip(ends.items(), ("masked_r2", "accuracy"), strict=True)
        if chosen
    )


def _of(histories: Mapping[str, pd.DataFrame], column: str) -> dict[str, pd.DataFrame]:
    """Return the histories that have a column."""
    return {model: history for model, history in histories.items() if column in history}


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
    histories: Mapping[str, pd.DataFrame],
    reconstructions: Mapping[str, Path],
    blocks: Mapping[str, pd.DataFrame],
    *,
    colours: Mapping[str, str],
) -> Section:
    """Show the training of each trained model.

    Parameters
    ----------
    histories
        ``history.csv`` by model, as :func:`cellmae.pretraining.read_history` returns it.
    reconstructions
        ``reconstructions.png`` by model.
    blocks
        ``blocks.csv`` by model, where there is one.
    """
    curves = (
        ("training-r2", "R² on masked patches", "masked_r2", r2_figure),
        ("training-accuracy", "Perturbations told", "accuracy", accuracy_figure),
        ("training-loss", "Loss (solid) and squared error (dotted)", "loss", loss_figure),
        ("training-fourier", "Fourier term", "fourier", fourier_figure),
        ("training-rankme", "Effective rank of embeddings (RankMe)", "rankme", rankme_figure),
    )
    plots = [
        Plot(
            name,
            draw(chosen, colours=colours),
            alt=f"{title} against crops seen. {_ends_in_words(chosen, column)}",
            title=title,
        )
        for name, title, column, draw in curves
        if (chosen := _of(histories, column))
    ]
    caption = (
        "Means over the steps between two rows of history.csv; points are measured on crops that are set aside, of the "
        "validation plates where there are any. Read the R² on masked patches of standardised crops first: 0 is a "
        "guess of zero, the dashed line the mean of the visible patches, and a model has learned something beyond "
        "brightness once it is clear of it; a curve that still rises would gain from more crops. The loss is the "
        "weighted sum of squared error and Fourier term, or the cross entropy of a classifier. RankMe counts the "
        "directions that embeddings vary in: a falling one warns of collapse."
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
        [
            Panels(plots, caption),
            _ends_table(histories),
            *([_blocks_table(blocks)] if blocks else []),
            *([Panels(pictures, pictures_caption, size="wide")] if pictures else []),
        ],
    )


def _blocks_table(blocks: Mapping[str, pd.DataFrame]) -> Table:
    frame = pd.concat([ranking.assign(model=model) for model, ranking in blocks.items()], ignore_index=True)
    shown = frame[["model", "block", "accuracy", "chance", "wells", "perturbations"]].set_axis(
        ["Model", "Block", "Accuracy", "By guessing", "Wells", "Perturbations"], axis=1
    )
    if (reasons := frame["reason"].fillna("")).any():
        shown["Not ranked, as there are"] = reasons
    formats = {"Accuracy": "{:.3f}", "By guessing": "{:.3f}"} | dict.fromkeys(
        ("Block", "Wells", "Perturbations"), "{:,.0f}"
    )
    caption = (
        "Which block embeds best: share of held-out wells of the validation plates whose perturbation a linear probe "
        "tells, the best block first. models.*.embed_block chooses the block."
    )
    return Table("blocks", frame, shown, caption, formats)


def _ends_in_words(histories: Mapping[str, pd.DataFrame], column: str) -> str:
    return (
        listed(
            [
                f"{model} goes from {values.iloc[0]:.3f} to {values.iloc[-1]:.3f}"
                for model, values in ((model, history[column].dropna()) for model, history in histories.items())
            ]
        )
        + "."
    )


def _ends_table(histories: Mapping[str, pd.DataFrame]) -> Table:
    frame = pd.concat([history.assign(model=model) for model, history in histories.items()], ignore_index=True)
    last = pd.DataFrame([{"model": model, **history.iloc[-1]} for model, history in histories.items()])
    shown = pd.DataFrame({"Model": last["model"], "Steps": last["step"], "Crops": last["crops"], "Loss": last["loss"]})
    if "masked_r2" in last:
        shown["Masked R²"] = last["masked_r2"]
        shown["R² of visible mean"] = visible_mean_r2(last)
    named = {
        "eval_r2": "R², set aside",
        "eval_r2_nearest_visible": "R² of nearest visible",
        "accuracy": "Accuracy",
        "eval_accuracy": "Accuracy, set aside",
        "fourier": "Fourier term",
        "rankme": "RankMe",
        "skipped": "Skipped steps",
    }
    shown = shown.assign(**{title: last[column] for column, title in named.items() if column in last})
    formats = dict.fromkeys(shown.columns[1:], "{:z.3f}") | dict.fromkeys(
        ("Steps", "Crops", "Skipped steps"), "{:,.0f}"
    )
    return Table("training", frame, shown, "Where each training ended: the last row of its history.", formats)
