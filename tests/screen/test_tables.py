from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator

from cellmae.errors import DataError
from cellmae.screen import index_fields, index_wells, read_fields, read_wells, write_table
from cellmae.screen.tables import check_table

READERS = {"fields": (index_fields, read_fields), "wells": (index_wells, read_wells)}


def schema_path(repository: Path, kind: str) -> Path:
    return repository / f"workflow/schemas/{kind}.schema.yaml"


@pytest.mark.parametrize("kind", ["fields", "wells"])
def test_tables_come_back_as_they_were_written(rxrx3, repository, tmp_path, kind):
    index, read = READERS[kind]
    table = index(rxrx3, "gene-001_Plate1")
    write_table(tmp_path / "out/table.parquet", table, schema=schema_path(repository, kind))
    pd.testing.assert_frame_equal(read(tmp_path / "out/table.parquet"), table)


def test_an_invalid_table_is_not_written(rxrx3, repository, tmp_path):
    table = index_wells(rxrx3, "gene-001_Plate1").assign(role="control")
    with pytest.raises(DataError, match=r"wells.parquet: the column 'role' holds 'control'; expected is .*treatment"):
        write_table(tmp_path / "wells.parquet", table, schema=schema_path(repository, "wells"))
    assert not list(tmp_path.glob("*wells.parquet*"))


def test_missing_and_broken_files_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"absent.parquet is missing: .* run snakemake screen"):
        read_wells(tmp_path / "absent.parquet")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"broken.parquet cannot be read .* delete it"):
        read_fields(tmp_path / "broken.parquet")


FAULTS = {
    "fields": [
        {"path_er": "/etc/passwd"},
        {"path_er": "../outside.png"},
        {"path_er": "images/../../x.png"},
        {"path_er": "images/..fine.png"},
        {"path_er": None},
        {"well": "A1"},
        {"well": "AA01"},
        {"site": -1},
        {"site": 1.5},
        {"row": 0},
        {"size": None},
        {"plate": "a b"},
        {"plate": 7},
        {"more": 1},
    ],
    "wells": [
        {"role": "control"},
        {"role": None},
        {"perturbation": None},
        {"perturbation": 3},
        {"treatment": "x"},
        {"dose": 0.5},
        {"dose": np.nan},
        {"seen": True},
        {"Dose": 1.0},
        {"row": True},
    ],
}


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind, faults in FAULTS.items() for fault in faults])
def test_columns_are_judged_as_json_schema_judges_rows(rxrx3, repository, kind, fault):
    schema = yaml.safe_load(schema_path(repository, kind).read_text())
    Draft202012Validator.check_schema(schema)
    table = READERS[kind][0](rxrx3, "gene-001_Plate1").assign(**fault)
    rows = table.astype("object").where(table.notna(), None).to_dict("records")
    valid = all(Draft202012Validator(schema).is_valid(row) for row in rows)
    if valid:
        check_table(table, schema, name="table")
    else:
        with pytest.raises(DataError, match=next(iter(fault))):
            check_table(table, schema, name="table")


def test_missing_columns_are_named(rxrx3, repository):
    schema = yaml.safe_load(schema_path(repository, "wells").read_text())
    table = index_wells(rxrx3, "gene-001_Plate1").drop(columns=["role", "well"])
    with pytest.raises(DataError, match=r"table lacks the columns well, role; it has plate, plate_name"):
        check_table(table, schema, name="table")
