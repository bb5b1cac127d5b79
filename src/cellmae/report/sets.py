"""Sets of the known relationships on the leading map: the most alike ones, and where the map is rich in them."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from cellmae.report.blocks import Block, Points, Section, Table
from cellmae.report.words import p_value, shorten


def sets_section(sets: pd.DataFrame, enrichment: pd.DataFrame, counts: pd.DataFrame, *, shown: int = 20) -> Section:
    """Show the sets of the lowest p-value, and the strongest enrichments.

    Parameters
    ----------
    sets, enrichment, counts
        ``sets.csv``, ``enrichment.csv`` and ``enrichment_counts.csv`` of a map.
    shown
        Rows of each table on the page.
    """
    blocks: list[Block] = []
    scored = sets.dropna(subset="p_value").sort_values(["p_value", "mean_cosine"], ascending=[True, False])
    if len(scored):
        blocks.append(_sets_table(sets, scored.head(shown), scored=len(scored)))
    if len(enrichment):
        best = enrichment.sort_values("p_value", kind="stable").head(shown)
        blocks.append(_enrichment_table(enrichment, best))
    return Section("sets", "Known sets on the map", [*blocks, Points(counts_in_words(counts))])


def counts_in_words(counts: pd.DataFrame) -> list[str]:
    """Say how much was tested for enrichment, a sentence a kind and source."""
    return [_counted(row) for row in counts.fillna({"reason": ""}).to_dict("records")]


def _counted(row: Mapping[Hashable, Any]) -> str:
    kind, source = row["kind"], row["source"]
    if row["reason"]:
        return f"Enrichment of {kind}s in {source} was not tested: {row['reason']}."
    return f"Of {row['tests']:,.0f} tests of {kind}s in sets of {source}, {row['enriched']:,.0f} stand out."


def _sets_table(sets: pd.DataFrame, best: pd.DataFrame, *, scored: int) -> Table:
    columns = {
        "Source": best["source"],
        "Set": best["set"].map(shorten),
        "Members": best["members"],
        "Listed": best["listed"],
        "Mean cosine": best["mean_cosine"],
        "p": best["p_value"].map(p_value),
        "FDR": best["fdr"].map(p_value),
    }
    formats = {"Members": "{:,.0f}", "Listed": "{:,.0f}", "Mean cosine": "{:z.3f}", "p": "{}", "FDR": "{}"}
    caption = (
        f"Sets whose members are most alike, of {scored:,} with at least two members in the map. p compares their mean "
        "cosine with that of random sets of the same size; FDR is over the sets of a source."
    )
    return Table("sets", sets, pd.DataFrame(columns), caption, formats)


def _enrichment_table(enrichment: pd.DataFrame, best: pd.DataFrame) -> Table:
    columns = {
        "Group": best["kind"] + " " + best["name"].astype(str),
        "Source": best["source"],
        "Set": best["set"].map(shorten),
        "Overlap": [
            f"{both} of {size}, {members} in the set"
            for both, size, members in zip(best["overlap"], best["size"], best["set_members"], strict=True)
        ],
        "Fold": best["fold"],
        "FDR": best["fdr"].map(p_value),
    }
    caption = (
        "Neighbourhoods and clusters that are rich in a set, by the hypergeometric test; FDR is over all tests of a "
        "kind, most of which are not listed."
    )
    return Table("enrichment", enrichment, pd.DataFrame(columns), caption, {"Fold": "{:.1f}", "FDR": "{}"})
