"""Scores against the computing that training took, where models of several sizes or lengths of training ran."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from cellmae.report.blocks import Block, Panels, Plot, Section, Table
from cellmae.report.comparison import score_name
from cellmae.report.intervals import assign_markers, row_labels
from cellmae.report.style import MUTED, new_figure
from cellmae.report.words import capitalised, intervals, listed, number, quantity

FEWEST_POINTS = 2
LEGEND_COLUMNS, LEGEND_LINE = 2, 0.22  # inches
MARGIN = 0.15  # of the scale of operations, in powers of ten
LEAST_TOP = 0.2
LEVEL = (0, (6, 1, 1, 1))
AS_EXPONENT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
SCORE = ["score", "source", "low", "high"]
COLUMNS = [*SCORE, "model", "alignment", "line", "flops", "value", "value_ci_low", "value_ci_high"]


def compute_sections(
    recalls: pd.DataFrame,
    probes: pd.DataFrame | None,
    flops: Mapping[str, float],
    *,
    lines: Mapping[str, str],
    bands: pd.DataFrame | None = None,
    unfinished: Sequence[str] = (),
    colours: Mapping[str, str],
) -> list[Section]:
    """Show scores against training compute; nothing where fewer than two trained models differ in it.

    Parameters
    ----------
    recalls, probes
        ``recall.csv``, and ``probe.csv`` of simulated screens, of all models and alignments one below the other, with
        ``model`` and ``alignment``.
    flops
        Operations of the training, by model; of a point on the way, so far.
    lines
        What models belong together, such as a line of a study, or a model and the points on the way to it.
    bands
        ``scaling_bands.csv`` of a study, whose alignments are drawn apart.
    unfinished
        Models that should be there and are not.
    """
    scored = _points(recalls, probes).dropna(subset=["value"])
    scored = scored.assign(line=scored["model"].map(lines), flops=scored["model"].map(flops))
    level, table = scored[scored["flops"].isna()], scored.dropna(subset=["flops"])
    if table["flops"].nunique() < FEWEST_POINTS:
        return []
    markers = assign_markers(list(dict.fromkeys(table["alignment"])))
    apart = ["name"] if bands is None or len(markers) == 1 else ["name", "alignment"]
    trends = None if bands is None else bands.assign(name=_names(bands))
    groups = [(", ".join(map(str, words)), group) for words, group in table.groupby(apart, sort=False)]
    plots = [
        Plot(
            f"compute-{place}",
            compute_figure(
                group,
                None if trends is None else trends.merge(group[apart].drop_duplicates()),
                level=level.merge(group[apart].drop_duplicates()),
                top=_top(scored[scored["name"] == group["name"].iloc[0]]),
                unfinished=len(unfinished),
                colours=colours,
                markers=markers,
            ),
            alt=f"{title} against training compute: "
            + "; ".join(
                f"{label} {number(value, 2)} at {flop:.1e} operations"
                for label, value, flop in zip(group["label"], group["value"], group["flops"], strict=True)
            )
            + ".",
            title=capitalised(title),
        )
        for place, (title, group) in enumerate(groups, start=1)
    ]
    blocks: list[Block] = [Panels(plots, _caption(bands is not None, unfinished)), _table(table)]
    return [Section("compute", "Scores and training compute", blocks)]


def _points(recalls: pd.DataFrame, probes: pd.DataFrame | None) -> pd.DataFrame:
    """Return recalls and R2 in the same columns, with their names."""
    points = [_scored(recalls, "recall")]
    if probes is not None:
        points.append(_scored(probes.assign(source="", low=np.nan, high=np.nan, chance=np.nan), "r2", "probe_r2"))
    found = pd.concat(points, ignore_index=True)
    return found.assign(name=_names(found), label=row_labels(found))


def _scored(scores: pd.DataFrame, column: str, score: str | None = None) -> pd.DataFrame:
    kept = [*SCORE[1:], "model", "alignment", "chance"]
    values = {f"value{end}": scores[f"{column}{end}"] for end in ("", "_ci_low", "_ci_high")}
    return scores[kept].assign(score=score or column, **values)


def _names(scores: pd.DataFrame) -> list[str]:
    return [score_name(*row) for row in scores[SCORE].itertuples(index=False, name=None)]


def compute_figure(
    scores: pd.DataFrame,
    trends: pd.DataFrame | None = None,
    *,
    level: pd.DataFrame | None = None,
    top: float = 1.0,
    unfinished: int = 0,
    colours: Mapping[str, str],
    markers: Mapping[str, str],
) -> Figure:
    """Draw a score against training compute.

    Parameters
    ----------
    scores
        Rows of one score, with ``value`` and its interval, ``chance``, ``label``, ``line`` and ``flops``.
    trends
        Rows of ``scaling_bands.csv`` to draw behind, for the lines of ``scores``.
    level
        Rows like ``scores`` of models without training.
    top
        Where the scale of scores ends.
    unfinished
        How many models are missing.
    """
    groups = list(scores.sort_values("flops").groupby(["line", "alignment"], sort=False))
    level = scores[:0] if level is None else level
    entries = -(-(len(groups) + len(level)) // LEGEND_COLUMNS)
    figure, (axes,) = new_figure(4.4, 3.2 + LEGEND_LINE * entries)
    handles = []
    of_line = {line: colours[model] for line, model in zip(scores["line"], scores["model"], strict=True)}
    if trends is not None:
        for (name, _), band in trends.groupby(["line", "alignment"], sort=False):
            axes.fill_between(
                band["flops"], band["value_ci_low"], band["value_ci_high"], color=of_line[name], alpha=0.15, linewidth=0
            )
            axes.plot(band["flops"], band["value"], color=of_line[name], linewidth=1.2, linestyle=(0, (4, 2)))
    for (name, alignment), line in groups:
        colour, flops = of_line[name], line["flops"]
        axes.vlines(flops, line["value_ci_low"], line["value_ci_high"], color=colour, linewidth=2.2)
        if trends is None:
            axes.plot(flops, line["value"], color=colour, linewidth=1)
        label = line["label"].iloc[-1] if line["model"].nunique() == 1 else str(name)
        handles += axes.plot(flops, line["value"], markers[str(alignment)], color=colour, markersize=7, label=label)
    for model, label, value in zip(level["model"], level["label"], level["value"], strict=True):
        handles.append(axes.axhline(value, color=colours[model], linewidth=1.5, linestyle=LEVEL, label=label))
    if scores["chance"].notna().any():
        axes.axhline(scores["chance"].mean(), color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    if unfinished:
        missing = f"\N{MULTIPLICATION SIGN} {quantity(unfinished, 'model')} not finished"
        axes.text(0.98, 0.02, missing, transform=axes.transAxes, color=MUTED, ha="right", fontsize=9)
    axes.set_xscale("log")
    low, high = np.log10(scores["flops"].min()) - MARGIN, np.log10(scores["flops"].max()) + MARGIN
    axes.set_xlim(10 ** min(low, np.floor(high)), 10**high)  # with a power of ten at least
    axes.xaxis.set_major_formatter(FuncFormatter(lambda flops, _: power_of_ten(flops)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="operations of training", ylabel=_axis(scores))
    axes.set_ylim(min(0.0, scores["value_ci_low"].min()), 1.02 * top)
    axes.grid(axis="y")
    figure.legend(handles=handles, loc="outside lower left", ncols=LEGEND_COLUMNS, handletextpad=0.4, labelspacing=0.3)
    return figure


def power_of_ten(value: float) -> str:
    """Write a power of ten without mathematical markup, as in ``10¹²``."""
    return "10" + str(round(np.log10(value))).translate(AS_EXPONENT)


def _top(scores: pd.DataFrame) -> float:
    """Return where the scale of a score ends: above all intervals, and not so low that noise fills it."""
    return min(1.0, max(LEAST_TOP, 1.1 * scores["value_ci_high"].max()))


def _axis(scores: pd.DataFrame) -> str:
    return "recall" if scores["score"].eq("recall").all() else "R² on held-out plates"


def _caption(trends: bool, unfinished: Sequence[str]) -> str:
    joined = (
        "Dashed: the trend of a line of the study, a straight line through its models, and its 95 % band; it is not "
        "drawn beyond them."
        if trends
        else "Models that belong together are connected."
    )
    missing = f" Not finished, and so not here: {listed(unfinished)}." if unfinished else ""
    return (
        "Scores against the operations of the whole training (forward and backward passes, two operations a "
        "multiply-add), on a scale of powers of ten. Upright lines are 95 % intervals; dotted: chance; level: models "
        f"without training. {joined} A point on the way to a model stands in the middle of its schedule, where the "
        "learning rate is still high."
        f"{missing}"
    )


def _table(scores: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            "Score": scores["name"],
            "Model": scores["model"],
            "Alignment": scores["alignment"],
            "Operations": scores["flops"],
            "Value": scores["value"],
            "95 % interval": intervals(scores, "value"),
        }
    )
    formats = {"Operations": "{:.2e}", "Value": "{:z.3f}", "95 % interval": "{}"}
    return Table("compute", scores[COLUMNS], shown, "Scores and the operations of training.", formats)
