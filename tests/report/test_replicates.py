"""The table of replicate scores on the page."""

import pandas as pd
import pytest

from cellmae.report.blocks import Points, Table
from cellmae.report.replicates import NAMES, SHOWN, replicates_section


def scores(**changes):
    rows = [
        {
            "model": model,
            "alignment": "tvn",
            "score": score,
            "representation": representation,
            "value": 0.4,
            "chance": 0.1,
        }
        for model in ("mae", "untrained")
        for score, representation in SHOWN.values()
    ]
    return pd.DataFrame(rows).assign(reason="", **changes)


def test_a_row_a_map_and_one_for_chance():
    (table,) = replicates_section(scores()).blocks
    assert isinstance(table, Table)
    assert table.shown["Model"].tolist() == ["mae", "untrained", "chance"]
    assert table.shown.columns.tolist() == ["Model", "Alignment", *SHOWN]
    assert table.rows()[2][2:] == ["0.100"] * len(SHOWN)
    assert set(NAMES) >= {score for score, _ in SHOWN.values()}


def test_what_was_not_scored_has_no_column_and_a_reason():
    table = scores()
    absent = table["score"] == "proximity_bias"
    table.loc[absent, ["value", "chance"]] = float("nan")
    table.loc[absent, "reason"] = "no table of chromosome arms"
    shown, points = replicates_section(table).blocks
    assert not {"Arms before", "Arms after"} & set(shown.shown.columns)
    assert "chromosome arm" not in shown.caption
    assert isinstance(points, Points)
    assert points.items == ["Proximity bias not scored: no table of chromosome arms."]


def test_a_map_that_alone_was_not_scored_is_named():
    table = scores()
    absent = (table["score"] == "consistency") & (table["model"] == "untrained")
    table.loc[absent, "value"] = float("nan")
    table.loc[absent, "reason"] = "no two wells"
    assert replicates_section(table).blocks[1].items == ["Consistency of untrained not scored: no two wells."]


@pytest.mark.slow
def test_page_holds_the_section(report):
    page = (report / "index.html").read_text()
    assert 'id="replicates"' in page
    assert (report / "tables" / "replicates.csv").exists()
