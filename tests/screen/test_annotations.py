from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen.annotations import add_roles, annotate, check_unique_wells, one_row_a_well

PATH = Path("map.csv")
COLUMNS = {"well": "well", "perturbation": "compound"}


def table(**columns: list) -> pd.DataFrame:
    return pd.DataFrame({name: pd.array(values, dtype="string[pyarrow]") for name, values in columns.items()})


def test_columns_are_translated():
    found = annotate(
        table(Plate=["7", "7"], Well=["a1", "b2"], compound=["DMSO", "taxol"], uM=["0.0", "2.50"], Batch=["x", "y"]),
        {"plate": "plate", "well": "well", "perturbation": "compound", "treatment": ["compound", "uM"]},
        {},
        path=PATH,
    )
    assert found["plate_name"].tolist() == ["7", "7"]
    assert found["well"].tolist() == ["A01", "B02"]
    assert found["perturbation"].tolist() == ["DMSO", "taxol"]
    assert found["treatment"].tolist() == ["DMSO_0", "taxol_2.5"]
    assert found["um"].tolist() == [0.0, 2.5]
    assert found["annotated_batch"].tolist() == ["x", "y"]
    assert not {"compound", "plate", "Plate"} & set(found)


def test_what_is_missing_is_missing_in_the_joined_label():
    found = annotate(
        table(well=["A1", "A2", "A3"], compound=["x", None, None], dose=[None, "1.5", None]),
        {"well": "well", "perturbation": ["compound", "dose"]},
        {},
        path=PATH,
    )
    assert found["perturbation"].tolist() == ["x", "1.5", pd.NA]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"kind": ["vehicle"]}, [True, False, False]),
        ({"kind": "vehicle"}, [True, False, False]),
        ({"kind": {"not": ["treated"]}}, [True, False, False]),
        ({"kind": {"not": ["treated"]}, "dose": [0.0]}, [True, False, False]),
        ({"kind": ["vehicle"], "dose": [5]}, [False, False, False]),
        ({}, [False, False, False]),
    ],
)
def test_controls_by_another_column(condition, expected):
    rows = table(
        well=["A1", "A2", "A3"], compound=["x", "y", "z"], kind=["vehicle", "treated", None], dose=["0.0", "5.0", "0.0"]
    )
    assert annotate(rows, COLUMNS, condition, path=PATH)["is_control"].tolist() == expected


def test_controls_are_what_has_no_value():
    rows = table(well=["A1", "A2", "A3"], compound=["x", None, " "], dose=["1", None, None], kind=["a", "a", "b"])
    found = annotate(rows, COLUMNS, {"compound": None}, path=PATH)
    assert found["is_control"].tolist() == [False, True, True]
    assert (
        found["perturbation"].tolist() == found["treatment"].tolist() == ["x", "negative_control", "negative_control"]
    )
    both = annotate(rows, COLUMNS, {"dose": None, "kind": ["b"]}, path=PATH)
    assert both["is_control"].tolist() == [False, False, True]
    assert both["perturbation"].tolist() == ["x", pd.NA, "negative_control"]
    assert not annotate(rows, COLUMNS, {"kind": None}, path=PATH)["is_control"].any()
    with pytest.raises(ConfigError, match=r"screen.control_where.type: map.csv has no column 'type'"):
        annotate(rows, COLUMNS, {"type": None}, path=PATH)


def test_control_values_that_do_not_occur_are_refused():
    rows = table(well=["A1", "A2"], compound=["x", "y"], kind=["trt", "ctl"])
    with pytest.raises(ConfigError, match=r"screen.control_where.kind: 'ctrl' does not occur; .*: trt, ctl"):
        annotate(rows, COLUMNS, {"kind": ["ctrl"]}, path=PATH)
    with pytest.raises(ConfigError, match=r"screen.control_where.type: map.csv has no column 'type'"):
        annotate(rows, COLUMNS, {"type": ["ctl"]}, path=PATH)


def test_rows_without_plate_are_counted():
    with pytest.raises(DataError, match=r"map.csv: 1 rows have no plate"):
        annotate(
            table(plate=["P", None], well=["A1", "A2"], compound=["x", "y"]),
            COLUMNS | {"plate": "plate"},
            {},
            path=PATH,
        )


def test_names_that_differ_in_case_only_are_refused():
    with pytest.raises(DataError, match="several columns that become dose"):
        annotate(table(well=["A1"], compound=["x"], dose=["1"], Dose=["2"]), COLUMNS, {}, path=PATH)


def test_rows_of_a_well_merge_and_keep_what_is_the_same():
    rows = annotate(
        table(well=["A1", "a01", "A2"], compound=["x", "x", None], site=["1", "2", "1"], moa=["m", "m", "n"]),
        COLUMNS,
        {},
        path=PATH,
    )
    wells = one_row_a_well(rows)
    assert wells["well"].tolist() == ["A01", "A02"]
    assert wells["moa"].tolist() == ["m", "n"]
    assert "site" not in wells


@pytest.mark.parametrize("second", ["y", None])
def test_contradictions_within_a_well_name_the_well(second):
    rows = table(plate=["P", "P", "P"], well=["A1", "B7", "B07"], compound=["x", "x", second])
    with pytest.raises(DataError, match=r"contradict each other, for P B07: the first is annotated as 'x' and as"):
        one_row_a_well(annotate(rows, COLUMNS | {"plate": "plate"}, {}, path=PATH))


def test_duplicate_wells_are_listed():
    wells = pd.DataFrame({"experiment": "", "plate_name": ["P"] * 24, "well": [f"A{n:02d}" for n in range(1, 13)] * 2})
    with pytest.raises(DataError, match=r"12 wells are annotated more than once: P A01, P A02, .*P A10 and 2 more"):
        check_unique_wells(wells)
    check_unique_wells(wells.assign(plate_name=["P"] * 12 + ["Q"] * 12))


def test_roles():
    labels = pd.array(["a", "b", "c", None, None], dtype="string[pyarrow]")
    wells = pd.DataFrame({"perturbation": labels, "is_control": [False, False, False, False, True]})
    found = add_roles(wells, ["a"], ["b"])
    assert found["role"].tolist() == ["negative_control", "positive_control", "treatment", "empty", "negative_control"]
    assert "is_control" not in found


def test_extras_of_all_types_are_kept():
    rows = pd.DataFrame(
        {
            "well": ["A1", "A2"],
            "compound": ["x", "y"],
            "dose": [0.5, np.nan],
            "seen": [True, False],
            "day": pd.to_datetime(["2024-01-01", None]),
        }
    )
    found = annotate(rows, COLUMNS, {}, path=PATH)
    assert found["dose"].iloc[0] == 0.5
    assert found["seen"].tolist() == [True, False]
    assert found["day"].tolist() == ["2024-01-01 00:00:00", pd.NA]
