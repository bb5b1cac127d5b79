"""What a study finds: how scores grow with training compute, gains over weak supervision, and ablations."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cellmae.report.blocks import Block, Section, Table, Text
from cellmae.report.comparison import score_name
from cellmae.report.words import intervals, p_value
from cellmae.study import AGAINST, varied

SIDED = ["model", "alignment", "value"]
ABLATION_COLUMNS = [
    "alignment", "score", "source", "low", "high", "line", "model", "changed", "reference", "value", "reference_value",
    "difference", "difference_ci_low", "difference_ci_high", "p_value",
]  # fmt: skip
TRAINING_COLUMNS = [
    "model", "line", "family", "size", "patch", "seed", "parameters", "plates", "crops", "on_the_way", "flops",
    "device_hours", "memory_mb",
]  # fmt: skip


def study_sections(
    points: pd.DataFrame,
    trends: pd.DataFrame,
    gains: pd.DataFrame,
    comparison: pd.DataFrame,
    study: Mapping[str, Any],
    *,
    leader: str,
    alignments: Sequence[str],
) -> list[Section]:
    """Show trends, gains, ablations, and what the trainings took; nothing where there are none.

    Parameters
    ----------
    points, trends, gains
        ``scaling.csv``, ``scaling_trends.csv`` and ``scaling_gains.csv``.
    comparison
        ``comparison.csv``.
    study
        The section of the configuration.
    leader
        The model whose alignments are compared, beside those that lines are ``against``.
    alignments
        The first one is what the others are compared with.
    """
    references = [spec[AGAINST] for spec in study.values() if spec.get(AGAINST) is not None]
    changes = _stacked(
        [ablations(comparison, study), alignment_ablations(comparison, {leader, *references}, alignments)]
    )
    tables = [_trends(trends), _gains(gains), _ablations(changes), _trainings(points)]
    blocks: list[Block] = [table for table in tables if len(table.frame)]
    if not blocks:
        return []
    explained = Text(
        [
            "A trend is a straight line through a score over the decimal logarithm of operations. Its slope, the gains "
            "and the differences have 95 % intervals from resampling perturbations, with the same draws for all "
            "models; they say nothing of how much the same training varies between seeds."
        ]
    )
    return [Section("study", "What the study finds", [explained, *blocks])]


def ablations(comparison: pd.DataFrame, study: Mapping[str, Any]) -> pd.DataFrame:
    """Return how the models of each line that is ``against`` a model differ from it, with the same alignment.

    Parameters
    ----------
    comparison
        ``comparison.csv``.
    study
        The section of the configuration.

    Returns
    -------
    DataFrame
        Columns :data:`ABLATION_COLUMNS`; ``changed`` names the keys that vary in the line, and their values.
    """
    both_ways = _both_ways(comparison[comparison["alignment_a"] == comparison["alignment_b"]])
    found = [pd.DataFrame(columns=ABLATION_COLUMNS)]
    for line, model, changed, reference in _contests(study):
        rows = both_ways[(both_ways["model_a"] == model) & (both_ways["model_b"] == reference)]
        names = {"value_a": "value", "value_b": "reference_value", "alignment_a": "alignment", "model_b": "reference"}
        found.append(rows.rename(columns=names).assign(line=line, model=model, changed=changed))
    return _stacked(found)[ABLATION_COLUMNS]


def alignment_ablations(comparison: pd.DataFrame, models: Collection[str], alignments: Sequence[str]) -> pd.DataFrame:
    """Return how the alignments of some models differ from the first one, in the columns of :func:`ablations`."""
    both_ways = _both_ways(comparison[comparison["model_a"] == comparison["model_b"]])
    rows = both_ways[both_ways["model_a"].isin(models) & (both_ways["alignment_b"] == alignments[0])]
    names = {"value_a": "value", "value_b": "reference_value", "alignment_a": "alignment", "model_a": "model"}
    changed = "alignment " + rows["alignment_a"]
    reference = rows["model_b"] + f" with {alignments[0]}"
    found = rows.rename(columns=names).assign(line="alignments", changed=changed, reference=reference)
    return found[ABLATION_COLUMNS]


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables; empty ones know no types, so they are left out unless all are."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _contests(study: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for line, spec in study.items():
        if spec.get(AGAINST) is not None:
            for model, chosen in varied(spec, line).items():
                yield line, model, ", ".join(f"{key} {value}" for key, value in chosen.items()), spec[AGAINST]


def _both_ways(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return each comparison as it is, and with its sides exchanged."""
    sides = {f"{name}_{side}": f"{name}_{other}" for name in SIDED for side, other in ("ab", "ba")}
    exchanged = comparison.rename(columns=sides)
    exchanged["difference"] = -comparison["difference"]
    exchanged["difference_ci_low"] = -comparison["difference_ci_high"]
    exchanged["difference_ci_high"] = -comparison["difference_ci_low"]
    return pd.concat([comparison, exchanged], ignore_index=True)


def _scores(table: pd.DataFrame) -> dict[str, Any]:
    """Return the columns that say which score a row is about."""
    words = [score_name(*row) for row in table[["score", "source", "low", "high"]].itertuples(index=False, name=None)]
    return {"Score": words, "Alignment": table["alignment"], "Line": table["line"]}


def _trends(trends: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            **_scores(trends),
            "Models": trends["models"],
            "Operations, from": trends["lowest_flops"],
            "to": trends["highest_flops"],
            "A decade adds": trends["slope"],
            "95 % interval": intervals(trends, "slope"),
            "p": trends["p_value"].map(p_value),
        }
    )
    formats = dict.fromkeys(("Operations, from", "to"), "{:.1e}") | {"Models": "{:,.0f}", "A decade adds": "{:+z.3f}"}
    caption = "Trends: what ten times the operations add to a score."
    return Table("scaling_trends", trends, shown, caption, formats | {"95 % interval": "{}", "p": "{}"})


def _gains(gains: pd.DataFrame) -> Table:
    percent = gains.assign(**{name: 100 * gains[name] for name in ("gain", "gain_ci_low", "gain_ci_high")})
    shown = pd.DataFrame(
        {
            **_scores(gains),
            "Its best": gains["model"],
            "Scores": gains["value"],
            "Best classifier": gains["baseline"],
            "Classifier scores": gains["baseline_value"],
            "Gain, %": percent["gain"],
            "95 % interval": [
                "\N{EN DASH}" if np.isnan(low) else f"{low:+.0f} to {high:+.0f}".replace("-", "\N{MINUS SIGN}")
                for low, high in zip(percent["gain_ci_low"], percent["gain_ci_high"], strict=True)
            ],
            "p": gains["p_value"].map(p_value),
        }
    )
    formats = dict.fromkeys(("Scores", "Classifier scores"), "{:z.3f}") | {"Gain, %": "{:+z.0f}"}
    caption = (
        "Gains: the best model of a line over the best weakly supervised one, relative to it. Kraus et al. report 28 %."
    )
    return Table("scaling_gains", gains, shown, caption, formats | {"95 % interval": "{}", "p": "{}"})


def _ablations(changes: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            **_scores(changes),
            "Changed": changes["changed"],
            "Scores": changes["value"],
            "Reference": changes["reference"],
            "Reference scores": changes["reference_value"],
            "Difference": changes["difference"],
            "95 % interval": intervals(changes, "difference"),
            "p": changes["p_value"].map(p_value),
        }
    )
    formats = dict.fromkeys(("Scores", "Reference scores"), "{:z.3f}") | {"Difference": "{:+z.3f}"}
    caption = (
        "Ablations: models, or alignments of a model, that differ from a reference in what is named, on the same "
        "relationships."
    )
    return Table("ablations", changes, shown, caption, formats | {"95 % interval": "{}", "p": "{}"})


def _trainings(points: pd.DataFrame) -> Table:
    taken = points.loc[points["flops"] > 0, TRAINING_COLUMNS].drop_duplicates("model")
    shown = pd.DataFrame(
        {
            "Model": taken["model"],
            "Line": taken["line"],
            "Parameters": taken["parameters"],
            "Plates": taken["plates"],
            "Crops": taken["crops"],
            "Operations": taken["flops"],
            "Device-hours": taken["device_hours"],
            "Memory, MiB": taken["memory_mb"],
        }
    )
    formats = dict.fromkeys(("Parameters", "Plates", "Crops", "Memory, MiB"), "{:,.0f}")
    caption = (
        "What the trainings took. Memory is the most that a process had until then: of a GPU's or, without one, of the "
        "machine's."
    )
    return Table("trainings", taken, shown, caption, formats | {"Operations": "{:.2e}", "Device-hours": "{:.2f}"})
