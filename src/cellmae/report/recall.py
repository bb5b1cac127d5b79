"""Recall of known relationships by database, model and alignment."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellmae.report.blocks import Block, Panels, Plot, Points, Section, Table
from cellmae.report.intervals import ROW_HEIGHT, assign_markers, draw_scores, row_labels
from cellmae.report.style import GRID, INK, MUTED, new_figure
from cellmae.report.words import interval, intervals, listed, p_value, value_range

BY_DATABASE = ["source", "pairs_kept", "low", "high"]
KEPT = {"all": "", "different_arms": ", pairs of different arms"}
NO_SOURCE = "none"  # where the run has no relationships
WIDTH_OF_A_NAME = 0.2  # on the axis of recall: closer names take two lines


def recall_section(scores: pd.DataFrame, *, colours: Mapping[str, str]) -> Section:
    """Show the recall of every database by model and alignment.

    Parameters
    ----------
    scores
        ``recall.csv`` of all models and alignments one below the other, with ``model`` and ``alignment``; the
        column ``oracle`` where the true phenotypes are known.
    """
    markers = assign_markers(list(dict.fromkeys(scores["alignment"])))
    scored = scores.dropna(subset="recall")
    blocks: list[Block] = []
    if len(scored):
        databases = [group for _, group in scores.groupby(BY_DATABASE, sort=False)]
        plots = [
            _plot(f"recall-{number}", group, colours=colours, markers=markers)
            for number, group in enumerate(databases, start=1)
            if group["recall"].notna().any()
        ]
        blocks = [Panels(plots, _caption(scored, alignments=len(markers))), _table(pd.concat(databases))]
    if len(scored) < len(scores):
        blocks.append(Points(skipped_in_words(scores)))
    return Section("recall", "Recall of known relationships", blocks)


def recall_figure(scores: pd.DataFrame, *, colours: Mapping[str, str], markers: Mapping[str, str]) -> Figure:
    """Draw the recall of one database by model and alignment, with the chance band and the oracle.

    Parameters
    ----------
    scores
        Rows with one source and one pair of thresholds.
    """
    figure, (axes,) = new_figure(4.0, 1.0 + ROW_HEIGHT * len(scores))
    chance, best = scores["chance"].mean(), oracle_of(scores)
    axes.axvspan(scores["chance_ci_low"].min(), scores["chance_ci_high"].max(), color=GRID, linewidth=0)
    axes.axvline(chance, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    _name_above(axes, "chance", chance, colour=MUTED)
    draw_scores(axes, scores, value="recall", colours=colours, markers=markers)
    if best is not None:
        axes.axvline(best, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        _name_above(axes, "oracle", best, colour=INK, line=int(abs(best - chance) < WIDTH_OF_A_NAME))
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("recall")
    return figure


def _name_above(axes: Axes, name: str, x: float, *, colour: str, line: int = 0) -> None:
    axes.annotate(
        name,
        (x, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 2 + 11 * line),
        textcoords="offset points",
        color=colour,
        fontsize=9,
        ha="center",
    )


def oracle_of(scores: pd.DataFrame) -> float | None:
    """Return the recall that the true phenotypes reach on one database; None where they are not known."""
    known = scores["oracle"].dropna() if "oracle" in scores else ()
    return float(max(known)) if len(known) else None


def skipped_in_words(scores: pd.DataFrame) -> list[str]:
    """Say which scores were skipped and why, a sentence a reason."""
    skipped = scores.assign(label=row_labels(scores))[scores["recall"].isna()]
    sentences = []
    for reason, group in skipped.groupby("reason", sort=False):
        sources, labels = (listed(list(dict.fromkeys(group[column]))) for column in ("source", "label"))
        what = "Recall" if sources == NO_SOURCE else f"Recall of {sources}"
        sentences.append(f"{what} was not scored for {labels}: {reason}.")
    return sentences


def tails(low: float, high: float) -> str:
    """Say which tails of the cosines count, as in ``5 % / 95 %``."""
    return f"{low * 100:g} % / {high * 100:g} %"


def _plot(name: str, scores: pd.DataFrame, *, colours: Mapping[str, str], markers: Mapping[str, str]) -> Plot:
    source, kept, low, high = scores[BY_DATABASE].iloc[0]
    scored = scores.dropna(subset="recall")
    said = [
        f"{label} {recall:.2f} ({interval(lower, upper, 2)})"
        for label, recall, lower, upper in zip(
            row_labels(scores)[scored.index],
            scored["recall"],
            scored["recall_ci_low"],
            scored["recall_ci_high"],
            strict=True,
        )
    ]
    said.append(f"chance {scored['chance'].mean():.2f}")
    best = oracle_of(scored)
    if best is not None:
        said.append(f"oracle {best:.2f}")
    return Plot(
        name,
        recall_figure(scores, colours=colours, markers=markers),
        alt=f"Recall of {source}{KEPT[kept]} with 95 % intervals: {'; '.join(said)}.",
        title=f"{source}, tails {tails(low, high)}{KEPT[kept]}",
    )


def _caption(scored: pd.DataFrame, *, alignments: int) -> str:
    shapes = f" Marker shapes tell the {alignments} alignments apart." if alignments > 1 else ""
    best = " The dashed line, the oracle, is what the true phenotypes reach." if oracle_of(scored) is not None else ""
    return (
        "Share of known relationships whose cosine lies in one of the two tails of the cosines of all pairs of the "
        "map; further right is better. Lines are 95 % intervals from resampling perturbations. Dotted: chance; the "
        "grey band holds 95 % of maps with permuted names. A point right of the band is hardly chance for these "
        "perturbations; a line clear of the dotted one says that it would hardly be for others like them."
        f"{best}{shapes} Rests on {value_range(scored['pairs'])} known pairs of {value_range(scored['genes'])} "
        f"perturbations, in maps of {value_range(scored['map_genes'])}."
    )


def _table(scores: pd.DataFrame) -> Table:
    columns = {
        "Database": scores["source"] + scores["pairs_kept"].map(KEPT),
        "Tails": [tails(low, high) for low, high in zip(scores["low"], scores["high"], strict=True)],
        "Model": scores["model"],
        "Alignment": scores["alignment"],
        "Recall": scores["recall"],
        "95 % interval": intervals(scores, "recall"),
        **({"Oracle": scores["oracle"]} if "oracle" in scores else {}),
        "Chance": scores["chance"],
        "95 % of chance": intervals(scores, "chance"),
        "p": scores["p_value"].map(p_value),
        "Pairs": scores["pairs"],
        "Perturbations": scores["genes"],
    }
    formats = dict.fromkeys(("Recall", "Oracle", "Chance"), "{:z.3f}")
    formats |= dict.fromkeys(("95 % interval", "95 % of chance", "p"), "{}")
    formats |= dict.fromkeys(("Pairs", "Perturbations"), "{:,.0f}")
    caption = (
        "Recall of known relationships; p is the share of maps with permuted names that reach it. As CSV the table "
        "also has the recall of each tail alone."
    )
    return Table("recall", scores, pd.DataFrame(columns), caption, formats)
