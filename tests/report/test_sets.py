"""Known sets on the page."""

import numpy as np
import pandas as pd

from cellmae.report.sets import sets_section

SETS = pd.DataFrame(
    {
        "source": "CORUM",
        "set": ["far", "near", "absent"],
        "listed": [4, 3, 2],
        "members": [3, 3, 1],
        "mean_cosine": [0.1, 0.8, np.nan],
        "p_value": [0.4, 0.0001, np.nan],
        "fdr": [0.4, 0.0002, np.nan],
    }
)
ENRICHMENT = pd.DataFrame(
    {
        "kind": "neighbourhood", "name": "PSMA1", "source": "CORUM", "set": ["near"], "size": 20, "set_members": 3,
        "overlap": 2, "fold": 12.25, "p_value": 1e-6, "fdr": 0.01,
    }
)  # fmt: skip
COUNTS = pd.DataFrame(
    {
        "kind": ["neighbourhood", "cluster"],
        "source": "CORUM",
        "tests": [1200.0, np.nan],
        "enriched": [1.0, np.nan],
        "reason": [np.nan, "too few"],
    }
)


def test_the_most_alike_set_comes_first_and_all_tests_are_counted():
    sets, enrichment, points = sets_section(SETS, ENRICHMENT, COUNTS).blocks
    assert [row[1] for row in sets.rows()] == ["near", "far"]
    assert sets.frame is SETS
    row = enrichment.rows()[0]
    assert row[0] == "neighbourhood PSMA1"
    assert "2 of 20, 3 in the set" in row
    assert "12.2" in row[4]
    assert points.items == [
        "Of 1,200 tests of neighbourhoods in sets of CORUM, 1 stand out.",
        "Enrichment of clusters in CORUM was not tested: too few.",
    ]


def test_nothing_found_leaves_the_counts():
    (points,) = sets_section(SETS.iloc[2:], ENRICHMENT.iloc[:0], COUNTS).blocks
    assert len(points.items) == 2
