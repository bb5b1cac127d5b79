"""Scores of replicates, batches, chromosome arms and compounds, a row a model and alignment."""

import pandas as pd

from cellmae.report.blocks import Block, Points, Section, Table, Text
from cellmae.report.intervals import row_labels
from cellmae.report.words import listed

SHOWN = {
    "Active": ("activity_share", "X_tvn"),
    "Activity mAP": ("activity", "X_tvn"),
    "Consistent": ("consistency_share", "X_tvn"),
    "Consistency": ("consistency", "X_tvn"),
    "Guides mAP": ("treatments", "X_tvn"),
    "Replicate KS": ("kolmogorov_smirnov", "X_tvn"),
    "kNN": ("knn_probe", "X_tvn"),
    "Linear": ("linear_probe", "X_tvn"),
    "Compound-gene": ("compound_gene", "X_tvn"),
    "Purity before": ("batch_purity", "X"),
    "Purity after": ("batch_purity", "X_tvn"),
    "Arms before": ("proximity_bias", "X_pca"),
    "Arms after": ("proximity_bias", "X_tvn"),
}
"""Columns of the table, and the score and representation that each shows."""
NAMES = {
    "activity": "Activity",
    "activity_share": "Activity",
    "consistency": "Consistency",
    "consistency_share": "Consistency",
    "consistency_across_plates": "Consistency across plates",
    "magnitude": "Magnitude",
    "magnitude_share": "Magnitude",
    "treatments": "Agreement of guides",
    "kolmogorov_smirnov": "Distribution of replicates",
    "cramer_von_mises": "Distribution of replicates",
    "knn_probe": "Probes of perturbations",
    "linear_probe": "Probes of perturbations",
    "compound_gene": "Compound-gene recall",
    "batch_purity": "Batch mixing",
    "proximity_bias": "Proximity bias",
}
CHANCE = "chance"


def replicates_section(scores: pd.DataFrame) -> Section:
    """Show the scores by model and alignment, their chance in the last row.

    Parameters
    ----------
    scores
        ``replicates.csv`` of all models and alignments one below the other, with ``model`` and ``alignment``.
    """
    blocks: list[Block] = []
    if scores["value"].notna().any():
        blocks.append(_table(scores))
    named = scores.assign(name=scores["score"].map(NAMES), label=row_labels(scores))
    skipped = named[named["value"].isna()]
    if len(skipped):
        blocks.append(
            Points([_missing(rows, maps=named["label"].nunique()) for _, rows in skipped.groupby("reason", sort=False)])
        )
    return Section("replicates", "Replicates, batches, arms", blocks or [Text(["Nothing was scored."])])


def _missing(rows: pd.DataFrame, *, maps: int) -> str:
    """Say what was not scored for one reason, and of which maps unless of all."""
    labels = list(rows["label"].unique())
    of_maps = f" of {listed(labels)}" if len(labels) < maps else ""
    return f"{listed(list(rows['name'].unique()))}{of_maps} not scored: {rows['reason'].iloc[0]}."


def _table(scores: pd.DataFrame) -> Table:
    by_map = scores.set_index(["model", "alignment", "score", "representation"])
    values, chances = (by_map[column].unstack(["score", "representation"]) for column in ("value", "chance"))
    maps = scores[["model", "alignment"]].drop_duplicates()
    values = values.reindex(pd.MultiIndex.from_frame(maps))
    shown = {name: values[key] for name, key in SHOWN.items() if key in values and values[key].notna().any()}
    table = pd.DataFrame(shown).reset_index().rename(columns={"model": "Model", "alignment": "Alignment"})
    row = {name: chances[SHOWN[name]].mean() for name in shown}
    table.loc[len(table)] = pd.Series({"Model": CHANCE, "Alignment": "", **row})
    formats = dict.fromkeys(shown, "{:z.3f}")
    return Table("replicates", scores, table, _caption(scores, list(shown)), formats)


def _caption(scores: pd.DataFrame, shown: list[str]) -> str:
    meanings = {
        "Active": "Active and Consistent are shares of perturbations at a false discovery rate of 5 %",
        "Activity mAP": "Activity mAP says how well replicates find each other among negative controls",
        "Consistency": "Consistency is the mean cosine of replicates",
        "Guides mAP": "Guides mAP, how well guides (or doses) of a perturbation find each other among all others",
        "Replicate KS": "Replicate KS, how far the cosines of replicates are from those of unrelated wells (0 to 1)",
        "kNN": "kNN and Linear, the balanced accuracy of perturbations predicted on batches held out",
        "Compound-gene": "Compound-gene, the average precision of a compound's known genes",
        "Purity before": "Purity, the share of a well's nearest wells of its own batch, before and after alignment; "
        "chance is best",
        "Arms before": "Arms, the probability that two genes on one chromosome arm look more alike than two on "
        "different ones; 0.5 is best",
    }
    told = [text for name, text in meanings.items() if name in shown]
    return f"{'. '.join(told)}. As CSV the table also has intervals, p-values and what each score rests on."
