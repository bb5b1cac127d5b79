"""Trends, gains and ablations of a study."""

import pandas as pd

from cellmae.maps.scaling import GAIN_COLUMNS, POINT_COLUMNS, TREND_COLUMNS
from cellmae.report.study import ablations, alignment_ablations, study_sections

STUDY = {
    "mae": {"family": "mae", "vary": {"seed": [0]}},
    "mask": {"family": "mae", "against": "mae-s0", "vary": {"mask_ratio": [0.25, 0.5]}},
}
RECALL = {"score": "recall", "source": "complexes", "low": 0.05, "high": 0.95}


def contest(first: str, second: str, difference: float, *, alignments: tuple[str, str] = ("tvn", "tvn")) -> dict:
    values = {"value_a": 0.5 + difference, "value_b": 0.5, "difference": difference}
    bounds = {"difference_ci_low": difference - 0.1, "difference_ci_high": difference + 0.2, "p_value": 0.03}
    sides = dict(zip(("alignment_a", "alignment_b"), alignments, strict=True))
    return {**RECALL, "model_a": first, "model_b": second, **sides, **values, **bounds, "pairs": 9, "genes": 5}


COMPARISON = pd.DataFrame(
    [
        contest("mae-s0", "mask-m0_25", 0.3),
        contest("mask-m0_5", "mae-s0", 0.1),
        contest("mask-m0_25", "mask-m0_5", 0.2),
        contest("mae-s0", "mae-s0", 0.4, alignments=("tvn", "none")),
    ]
)
NO_POINTS, NO_TRENDS, NO_GAINS = (
    pd.DataFrame(columns=columns) for columns in (POINT_COLUMNS, TREND_COLUMNS, GAIN_COLUMNS)
)


def test_ablations_are_less_their_reference_whoever_was_first() -> None:
    found = ablations(COMPARISON, STUDY).set_index("changed")
    assert found.index.tolist() == ["mask_ratio 0.25", "mask_ratio 0.5"]
    lower, higher = found.loc["mask_ratio 0.25"], found.loc["mask_ratio 0.5"]
    assert (lower["value"], lower["reference_value"], lower["difference"]) == (0.5, 0.8, -0.3)
    assert (lower["difference_ci_low"], lower["difference_ci_high"]) == (-0.5, -(0.3 - 0.1))
    assert (higher["value"], higher["reference_value"], higher["difference"]) == (0.6, 0.5, 0.1)
    assert set(found["reference"]) == {"mae-s0"}
    assert ablations(COMPARISON, {"mae": STUDY["mae"]}).empty


def test_alignments_are_less_the_first_one() -> None:
    (row,) = alignment_ablations(COMPARISON, {"mae-s0", "guess"}, ["none", "tvn"]).to_dict("records")
    assert (row["model"], row["changed"], row["reference"]) == ("mae-s0", "alignment tvn", "mae-s0 with none")
    assert (row["alignment"], row["value"], row["reference_value"], row["difference"]) == ("tvn", 0.9, 0.5, 0.4)
    (row,) = alignment_ablations(COMPARISON, {"mae-s0"}, ["tvn", "none"]).to_dict("records")
    assert (row["changed"], row["reference"], row["difference"]) == ("alignment none", "mae-s0 with tvn", -0.4)
    assert alignment_ablations(COMPARISON, {"guess"}, ["tvn", "none"]).empty


def test_each_table_is_shown_where_it_has_rows() -> None:
    facts = {**RECALL, "alignment": "tvn", "line": "mae"}
    trend = facts | dict.fromkeys(TREND_COLUMNS[6:], 1e12) | {"models": 3, "slope": 0.1234, "p_value": 0.001}
    gain = facts | {"model": "mae-s0", "value": 0.5, "baseline": "net", "baseline_value": 0.4, "gain": 0.25}
    gain |= {"gain_ci_low": -0.1, "gain_ci_high": 0.6, "p_value": 0.2}
    trends, gains = (pd.DataFrame([row]) for row in (trend, gain))
    point = facts | {"model": "mae-s0", "flops": 2e12, "crops": 1000, "device_hours": 0.25, "memory_mb": 1234.0}
    without = facts | {"model": "guess", "flops": 0.0}
    points = pd.DataFrame([point, point | {"alignment": "none"}, without], columns=POINT_COLUMNS)
    sides = {"leader": "mae-s0", "alignments": ["tvn", "none"]}
    (section,) = study_sections(points, trends, gains, COMPARISON, STUDY, **sides)
    tables = [block for block in section.blocks if block.kind == "table"]
    assert [table.name for table in tables] == ["scaling_trends", "scaling_gains", "ablations", "trainings"]
    assert "+0.123" in tables[0].rows()[0]
    assert {"+25", "\N{MINUS SIGN}10 to +60"} <= set(tables[1].rows()[0])
    assert "recall of complexes, tails" in tables[2].rows()[0][0]
    assert tables[2].frame["line"].tolist() == ["mask", "mask", "alignments"]
    (training,) = tables[3].rows()
    assert {"mae-s0", "1,000", "2.00e+12", "0.25", "1,234"} <= set(training)
    (section,) = study_sections(NO_POINTS, NO_TRENDS, NO_GAINS, COMPARISON, STUDY, **sides)
    assert len(section.blocks) == 2
    alone = {"leader": "guess", "alignments": ["tvn", "none"]}
    assert study_sections(NO_POINTS, NO_TRENDS, NO_GAINS, COMPARISON, {"mae": STUDY["mae"]}, **alone) == []
