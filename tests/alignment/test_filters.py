"""Wells that are left out, and what is said of them."""

import numpy as np
import pandas as pd
import pytest

from cellmae.alignment.filters import make_filter, report_left_out
from cellmae.errors import ConfigError, DataError

EXPRESSION = pd.Series({"LOX": -5.0, "EGFP": -4.0, "TP53": 1.0, "EDGE": -3.0})


@pytest.fixture
def obs():
    table = pd.DataFrame(
        {
            "crops": [1, 4, 9, 9, 9, 9],
            "mean_nuclei": [5.0, 5.0, np.nan, 50.0, 5.0, 5.0],
            "perturbation": ["TP53", "TP53", "TP53", "TP53", "LOX", "EGFP"],
            "role": ["treatment"] * 5 + ["negative_control"],
        }
    )
    return table.set_axis([f"w{number}" for number in range(6)])


def test_wells_outside_of_the_limits_are_left_out_with_their_first_reason(obs):
    made = make_filter({"crops": {"min": 4}, "mean_nuclei": {"min": None, "max": 10}})
    reasons = made.measured(obs)
    assert reasons.dropna().to_dict() == {
        "w0": "crops below 4", "w2": "mean_nuclei missing", "w3": "mean_nuclei above 10"
    }  # fmt: skip
    assert make_filter({"crops": {"min": 1, "max": 9}}).measured(obs).isna().all()


def test_wells_of_genes_that_are_not_expressed_are_left_out_but_no_control(obs):
    made = make_filter({"expressed": -3}, EXPRESSION)
    assert made.unexpressed.tolist() == ["EGFP", "LOX"]
    assert made.expressed(obs, pd.Index(obs["perturbation"])).dropna().to_dict() == {"w4": "not expressed"}
    assert made.measured(obs).isna().all()


def test_genes_that_are_not_in_the_table_stay(obs):
    made = make_filter({"expressed": 5}, EXPRESSION.drop("TP53"))
    assert made.expressed(obs, pd.Index(obs["perturbation"])).notna().sum() == 1


def test_reasons_are_counted_and_listed(obs, caplog):
    counts = report_left_out(make_filter({"crops": {"min": 5}, "mean_nuclei": {"max": 10}}).measured(obs))
    assert list(counts.items()) == [("crops below 5", 2), ("mean_nuclei above 10", 1), ("mean_nuclei missing", 1)]
    assert "2 of 6 wells left out, crops below 5: w0, w1" in caplog.text


def test_a_filter_that_leaves_nothing_is_an_error(obs):
    with pytest.raises(DataError, match=r"leaves none of 6 wells \(6 crops below 100\)"):
        report_left_out(make_filter({"crops": {"min": 100}}).measured(obs))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"cells": {"min": 1}}, r"^alignments.\*.filter: the column 'cells' of wells does not exist; .* mean_nuclei"),
        ({"role": {"min": 1}}, "'role' of wells holds no numbers"),
        ({"expressed": -3}, "give genes.expression"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(obs, limits, message):
    with pytest.raises(ConfigError, match=message):
        make_filter(limits).measured(obs)
