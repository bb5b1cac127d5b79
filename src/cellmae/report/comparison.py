"""Models and alignments compared in pairs, on the same relationships and the same perturbations."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from cellmae.report.blocks import Panels, Plot, Section, Table, Text
from cellmae.report.intervals import ROW_HEIGHT, draw_intervals
from cellmae.report.recall import tails
from cellmae.report.style import INK, MUTED, new_figure
from cellmae.report.words import capitalised, interval, intervals, p_value, signed

MOST_DRAWN = 24
SCORES = {"recall": "recall", "probe_r2": "R² of the probe"}


def score_name(score: str, source: str, low: float, high: float) -> str:
    """Return a score in words, that of recall with its source and tails."""
    return f"recall of {source}, tails {tails(low, high)}" if score == "recall" else SCORES[score]


@dataclass(frozen=True)
class Contest:
    """Two maps compared by one score: the columns of ``comparison.csv`` that say who won."""

    score: str
    source: str
    low: float
    high: float
    model_a: str
    alignment_a: str
    model_b: str
    alignment_b: str
    difference: float
    difference_ci_low: float
    difference_ci_high: float

    @property
    def between_models(self) -> bool:
        """Two models share an alignment; otherwise two alignments share a model."""
        return self.model_a != self.model_b

    @property
    def first(self) -> str:
        """The side from which the other is subtracted, named by what the sides differ in."""
        return self.model_a if self.between_models else self.alignment_a

    @property
    def second(self) -> str:
        """The side that is subtracted."""
        return self.model_b if self.between_models else self.alignment_b

    @property
    def shared(self) -> str:
        """The alignment of both models, or the model of both alignments."""
        return self.alignment_a if self.between_models else self.model_a

    @property
    def what(self) -> str:
        """The score that is compared, in words."""
        return score_name(self.score, self.source, self.low, self.high)

    def verdict(self) -> Markup:
        """Say in words who is ahead, by how much, and whether that is clear of zero."""
        ahead, behind = self.first, self.second
        difference, low, high = self.difference, self.difference_ci_low, self.difference_ci_high
        if difference < 0:
            ahead, behind = behind, ahead
            difference, low, high = -difference, -high, -low
        numbers = f"{signed(difference)} (95 % interval {interval(low, high)}; both with {self.shared})"
        if low > 0:
            return Markup("<strong>{}</strong> is ahead of {} in {}: {}").format(ahead, behind, self.what, numbers)
        return Markup("{} and {} cannot be told apart in {}: {}").format(ahead, behind, self.what, numbers)


def contests(comparison: pd.DataFrame) -> list[Contest]:
    """Return the rows of ``comparison.csv``."""
    columns = [field.name for field in fields(Contest)]
    return [Contest(*row) for row in comparison[columns].itertuples(index=False, name=None)]


def comparison_section(comparison: pd.DataFrame) -> Section:
    """Show all paired comparisons.

    Parameters
    ----------
    comparison
        ``comparison.csv``.
    """
    title = "Paired comparisons"
    if comparison.empty:
        return Section("comparison", title, [Text(["Nothing to compare: no two maps of this run are scored."])])
    models_first = comparison.iloc[np.argsort(comparison["model_a"] == comparison["model_b"], kind="stable")]
    by_score = models_first.groupby(["score", "source", "low", "high"], sort=False, dropna=False)
    groups = [group for _, group in by_score]
    plots = [_plot(f"comparison-{number}", group) for number, group in enumerate(groups, start=1)]
    caption = (
        "Difference, first less second, on the relationships (or perturbations) that both maps hold, with its 95 % "
        "interval from resampling perturbations alike for both. Right of zero the first is ahead, left of it "
        "the second; grey lines are not clear of zero, so that the two cannot be told apart."
    )
    if any(len(group) > MOST_DRAWN for group in groups):
        caption += f" The first {MOST_DRAWN} comparisons are drawn; the table has all."
    return Section("comparison", title, [Panels(plots, caption), _table(pd.concat(groups))])


def difference_figure(rows: pd.DataFrame, drawn: Sequence[Contest]) -> Figure:
    """Draw differences with their intervals; grey ones are not clear of zero.

    Parameters
    ----------
    rows
        Rows of ``comparison.csv`` with one score.
    drawn
        The same rows, from :func:`contests`.
    """
    figure, (axes,) = new_figure(4.4, 0.85 + ROW_HEIGHT * len(rows))
    clear = (rows["difference_ci_low"] > 0) | (rows["difference_ci_high"] < 0)
    colours = [INK if is_clear else MUTED for is_clear in clear]
    labels = [f"{contest.first} vs {contest.second} ({contest.shared})" for contest in drawn]
    draw_intervals(axes, rows, value="difference", labels=labels, colours=colours, markers=["o"] * len(rows))
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel(f"difference in {SCORES[drawn[0].score]}")
    return figure


def _plot(name: str, group: pd.DataFrame) -> Plot:
    rows = group.head(MOST_DRAWN)
    drawn = contests(rows)
    alt = " ".join(f"{contest.verdict().striptags()}." for contest in drawn)
    return Plot(name, difference_figure(rows, drawn), alt, title=capitalised(drawn[0].what))


def _table(comparison: pd.DataFrame) -> Table:
    rows = contests(comparison)
    shown = pd.DataFrame(
        {
            "Score": [row.what for row in rows],
            "First": [row.first for row in rows],
            "Second": [row.second for row in rows],
            "Both with": [row.shared for row in rows],
            "1st scores": comparison["value_a"],
            "2nd scores": comparison["value_b"],
            "Difference": comparison["difference"],
            "95 % interval": intervals(comparison, "difference"),
            "p": comparison["p_value"].map(p_value),
            "Pairs": comparison["pairs"],
            "Perturbations": comparison["genes"],
        }
    )
    formats = dict.fromkeys(("1st scores", "2nd scores"), "{:z.3f}") | {"Difference": "{:+z.3f}"}
    formats |= {"95 % interval": "{}", "p": "{}", "Pairs": "{:,.0f}", "Perturbations": "{:,.0f}"}
    caption = "Every comparison of two models with the same alignment, and of two alignments of the same model."
    return Table("comparison", comparison, shown, caption, formats)
