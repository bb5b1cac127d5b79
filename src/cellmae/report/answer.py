"""The answer first: what the run found, in a few sentences."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from cellmae.report.blocks import Points, Section
from cellmae.report.comparison import contests
from cellmae.report.recall import skipped_in_words, tails
from cellmae.report.training import trained_in_words
from cellmae.report.words import interval, listed, number, p_value, quantity

MOST_SHOWN = 8
"""Models that the page looks at one by one; of more, the best of each line."""
MOST_VERDICTS = 12


class Leader(NamedTuple):
    """The map that the page looks at more closely, and why."""

    model: str
    alignment: str
    why: str


def choose_leader(scores: pd.DataFrame) -> Leader:
    """Choose the map with the highest mean recall over databases, or the first one where none is scored."""
    scored = scores.dropna(subset="recall")
    if scored.empty:
        first = scores.iloc[0]
        return Leader(first["model"], first["alignment"], "the first of this run, as recall was not scored")
    means = scored.groupby(["model", "alignment"], sort=False)["recall"].mean()
    why = "the only one of this run" if len(means) == 1 else "chosen for the highest mean recall of this run"
    model, alignment = means.index[int(means.argmax())]
    return Leader(model, alignment, why)


def best_of_lines(scores: pd.DataFrame, lines: Mapping[str, str], *, alignment: str) -> list[str]:
    """Return the models of few, and of many those with the highest mean recall of their line, or else its first.

    Parameters
    ----------
    scores
        ``recall.csv`` of all maps.
    lines
        By model, in order, what models belong together with it.
    alignment
        Whose recalls decide.
    """
    if len(lines) <= MOST_SHOWN:
        return list(lines)
    own = scores[scores["alignment"] == alignment]
    means = own.groupby("model")["recall"].mean().reindex(list(lines)).fillna(-1)
    best = means.groupby(list(lines.values()), sort=False).idxmax()
    return [model for model in lines if model in set(best)]


def answer_section(
    leader: Leader,
    *,
    shown: Sequence[str],
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    probes: pd.DataFrame | None,
    histories: Mapping[str, pd.DataFrame],
) -> Section:
    """Say what was found: the leading map's recall, what sets models apart, and what was skipped.

    Of several thresholds the first one is told here.

    Parameters
    ----------
    shown
        Models that are spoken of, the leader among them.
    scores, comparison, probes
        Tables of all maps; ``probes`` is None where the truth is not known.
    histories
        ``history.csv`` of the trained models, each compared with every other one that is shown under the leader's
        alignment; where that would be very many comparisons, only the leader is.
    """
    first_thresholds = scores[["low", "high"]].iloc[0]
    told = (scores[["low", "high"]] == first_thresholds).all(axis=1)
    compared = (comparison[["low", "high"]] == first_thresholds).all(axis=1) | comparison["low"].isna()
    items = [
        *_recalls(leader, scores[told]),
        *_probes(leader, probes, shown),
        *_verdicts(leader, comparison[compared], shown=shown, trained=list(histories)),
        *_count_of_verdicts(comparison),
        *skipped_in_words(scores),
        *([trained_in_words(histories)] if histories else []),
    ]
    return Section("answer", "In short", [Points(items)])


def _recalls(leader: Leader, scores: pd.DataFrame) -> list[Markup]:
    scored = scores.dropna(subset="recall")
    own = scored[(scored["model"] == leader.model) & (scored["alignment"] == leader.alignment)]
    return [_recall_sentence(leader, row) for row in own.to_dict("records")]


def _recall_sentence(leader: Leader, row: Mapping[Hashable, Any]) -> Markup:
    reached = f" The true phenotypes reach {row['oracle']:.2f}." if row.get("oracle", np.nan) >= 0 else ""
    return Markup(
        "<strong>{}</strong> ({}) recalls <strong>{:.2f}</strong> of {} of {} (95 % interval {}, tails {}), against "
        "{:.2f} by chance ({} with permuted names, p {}). The interval is {}clear of chance.{}"
    ).format(
        leader.model,
        leader.alignment,
        row["recall"],
        quantity(int(row["pairs"]), "known pair"),
        row["source"],
        interval(row["recall_ci_low"], row["recall_ci_high"], 2),
        tails(row["low"], row["high"]),
        row["chance"],
        interval(row["chance_ci_low"], row["chance_ci_high"], 2),
        p_value(row["p_value"], equals="= "),
        "" if row["recall_ci_low"] > row["chance"] else "not ",
        reached,
    )


def _count_of_verdicts(comparison: pd.DataFrame) -> list[str]:
    if comparison.empty:
        return []
    clear = int(((comparison["difference_ci_low"] > 0) | (comparison["difference_ci_high"] < 0)).sum())
    return [
        f"Of {quantity(len(comparison), 'paired comparison')} of models and of alignments {clear:,} "
        f"{'is' if clear == 1 else 'are'} clear of zero; the tables below have them all."
    ]


def _probes(leader: Leader, probes: pd.DataFrame | None, shown: Sequence[str]) -> list[str]:
    if probes is None:
        return []
    here = probes[(probes["alignment"] == leader.alignment) & probes["r2"].notna() & probes["model"].isin(shown)]
    if here.empty:
        return []
    each = [
        f"{model} {number(r2, 2)} ({interval(low, high, 2)})"
        for model, r2, low, high in zip(here["model"], here["r2"], here["r2_ci_low"], here["r2_ci_high"], strict=True)
    ]
    return [f"R² of a linear probe of the true phenotypes on held-out plates ({leader.alignment}): {listed(each)}."]


def _verdicts(
    leader: Leader, comparison: pd.DataFrame, *, shown: Sequence[str], trained: Sequence[str]
) -> list[Markup]:
    sides = comparison[["model_a", "model_b"]]
    here = comparison[
        (comparison[["alignment_a", "alignment_b"]] == leader.alignment).all(axis=1)
        & sides.isin(shown).all(axis=1)
        & sides.isin(trained).any(axis=1)
    ]
    if len(here) > MOST_VERDICTS:
        here = here[(here[["model_a", "model_b"]] == leader.model).any(axis=1)]
    return [contest.verdict() + "." for contest in contests(here)]
