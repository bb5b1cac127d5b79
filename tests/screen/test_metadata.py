import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen.metadata import as_label, as_numbers, as_text, column_names, find_column, read_metadata, read_some


def read(path: Path) -> pd.DataFrame:
    return read_metadata(path, key="screen.plate_map")


def text(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="string[pyarrow]")


def test_csv_stays_text_and_blank_rows_go(tmp_path):
    (tmp_path / "map.csv").write_text("barcode,dose\n0012,1.50\nNA,\n,\n")
    table = read(tmp_path / "map.csv")
    assert table["barcode"].tolist() == ["0012"]
    assert table["dose"].tolist() == ["1.50"]


def test_all_kinds_of_file_read_alike(tmp_path):
    table = pd.DataFrame({"well": ["A1", "A2"], "gene": ["MYC", None]})
    table.to_csv(tmp_path / "map.csv", index=False)
    table.to_csv(tmp_path / "map.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "map.txt", index=False, sep="\t")
    table.to_parquet(tmp_path / "map.parquet")
    (tmp_path / "map.csv.gz").write_bytes(gzip.compress((tmp_path / "map.csv").read_bytes()))
    for name in ("map.csv", "map.tsv", "map.txt", "map.parquet", "map.csv.gz"):
        found = read(tmp_path / name)
        assert found["well"].tolist() == ["A1", "A2"], name
        assert found["gene"].isna().tolist() == [False, True], name


def test_only_the_columns_asked_for_are_read(tmp_path):
    pd.DataFrame({"a": ["1"], "b": ["2"], "c": ["3"]}).to_csv(tmp_path / "map.csv", index=False)
    assert list(read_metadata(tmp_path / "map.csv", ["c", "a"], key="")) == ["a", "c"]


def test_real_plate_map_is_read(test_data):
    assert column_names(test_data / "headers/platemap.txt", key="")[:2] == ["plate_map_name", "well_position"]
    assert read(test_data / "headers/platemap.txt")["solvent"].iloc[0] == "DMSO"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.xlsx", b"", "screen.plate_map: .*map.xlsx is of no known kind"),
        ("map.csv", b"", "map.csv cannot be read as a table"),
        ("map.csv", "dose\n1 µM\n".encode("latin-1"), "map.csv cannot be read as a table: .*UTF"),
        ("map.csv", b"a,b\n1,2,3\n", "map.csv cannot be read as a table: .*columns"),
        ("map.csv", b"a,a\n1,2\n", "several columns named a"),
        ("map.parquet", b"no parquet", "map.parquet cannot be read as a table"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ConfigError, DataError), match=message):
        read(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"screen.plate_map: the file .*absent.csv does not exist"):
        read(tmp_path / "absent.csv")


def test_columns_are_found_with_and_without_prefix():
    names = ["Metadata_Well", "gene", "GE_1"]
    path = Path("map.csv")
    assert find_column("Well", names, key="", path=path) == "Metadata_Well"
    assert find_column("Metadata_gene", names, key="", path=path) == "gene"
    with pytest.raises(ConfigError, match=r"screen.columns.plate: map.csv has no column 'Plate'; its columns are Meta"):
        find_column("Plate", names, key="screen.columns.plate", path=path)
    with pytest.raises(ConfigError, match="no column 'WELL'"):
        find_column("WELL", ["Well", "well"], key="", path=path)


def test_labels_of_numbers_do_not_depend_on_spelling():
    assert as_label(text("50.0", "0.5", None, "5e1")).tolist() == ["50", "0.5", pd.NA, "50"]
    assert as_label(pd.Series([50.0, 0.5, np.nan])).tolist() == ["50", "0.5", pd.NA]
    assert as_label(text("0012", "0.5")).tolist() == ["0012", "0.5"]
    assert as_label(text("12345678901234567890", "2")).tolist() == ["12345678901234567890", "2"]
    assert as_label(text("DMSO", "1.0")).tolist() == ["DMSO", "1.0"]


def test_text_of_other_types():
    assert as_text(pd.Series([1, 2])).tolist() == ["1", "2"]
    assert as_text(pd.Series([1.0, np.nan])).tolist() == ["1", pd.NA]
    assert as_text(text(" A1 ", " ")).tolist() == ["A1", pd.NA]
    assert as_text(pd.Series(["x", None], dtype="category")).tolist() == ["x", pd.NA]


def test_numbers_are_recognised_only_if_all_are():
    assert as_numbers(text("1", "2")).dtype == np.int64
    assert as_numbers(text("1", None)).dtype == np.float64
    assert as_numbers(text("1", "x")).tolist() == ["1", "x"]
    assert as_numbers(text("01", "02")).tolist() == ["01", "02"]


@pytest.mark.parametrize("name", ["table.csv", "table.tsv.gz", "table.parquet"])
def test_part_of_a_table(tmp_path, name):
    table = pd.DataFrame(
        {"plate": ["P", "P", "Q", None], "well": ["A1", "A1", "A2", None], "path": ["a", "b", "c", None]}
    )
    if name.endswith("parquet"):
        table.to_parquet(tmp_path / name, row_group_size=1)
    else:
        table.to_csv(tmp_path / name, index=False, sep="\t" if "tsv" in name else ",")
    options = {"key": "screen.table"}
    whole = read_some(tmp_path / name, list(table), **options)
    pd.testing.assert_frame_equal(whole, read(tmp_path / name))
    wells = read_some(tmp_path / name, ["well", "plate"], distinct=True, **options)
    assert wells.to_dict("list") == {"plate": ["P", "Q"], "well": ["A1", "A2"]}
    own = read_some(tmp_path / name, ["path", "plate"], where=pc.field("plate").isin(["P"]), **options)
    assert own.to_dict("list") == {"plate": ["P", "P"], "path": ["a", "b"]}
    none = read_some(tmp_path / name, ["plate"], where=pc.field("plate").isin(["R"]), **options)
    assert list(none) == ["plate"]
    assert none.empty


def test_a_large_table_is_read_in_parts(tmp_path):
    rows = 200_000  # several blocks of text
    pd.DataFrame({"plate": [f"P{n % 7}" for n in range(rows)], "n": range(rows)}).to_csv(
        tmp_path / "t.csv", index=False
    )
    assert len(read_some(tmp_path / "t.csv", ["plate"], key="screen.table", distinct=True)) == 7
    own = read_some(tmp_path / "t.csv", ["plate", "n"], key="screen.table", where=pc.field("plate").isin(["P3"]))
    assert own["n"].astype(int).tolist() == list(range(3, rows, 7))


def test_lists_have_no_equals(tmp_path):
    pd.DataFrame({"plate": ["P", "P"], "moa": [["a"], ["b"]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet cannot be read as a table: unhashable type"):
        read_some(tmp_path / "t.parquet", ["plate", "moa"], key="screen.table", distinct=True)
