import pandas as pd
import pytest

from cellmae.errors import DataError
from cellmae.screen.wells import COLUMNS, ROWS, parse_well, parse_wells, well_name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        *[("a1", "A01"), ("A1", "A01"), ("a01", "A01"), ("A001", "A01"), (" B12 ", "B12"), ("B - 02", "B02")],
        *[("P24", "P24"), ("aa1", "AA01"), ("AA01", "AA01"), ("AF48", "AF48"), ("Z9", "Z09")],
        *[("r01c02", "A02"), ("R27C1", "AA01"), ("A-10", "A10"), ("A_7", "A07")],
    ],
)
def test_any_spelling_gives_one_name(spelling, name):
    position = parse_well(spelling)
    assert position is not None
    assert well_name(*position) == name


@pytest.mark.parametrize("text", ["", "A", "1", "A0", "A100", "AAA1", "AX1", "A73", "r0c1", "rc", "A1B", "A1 A2"])
def test_other_text_is_no_well(text):
    assert parse_well(text) is None


def test_names_of_all_wells_are_distinct_and_lead_back():
    positions = [(row, column) for row in range(1, ROWS + 1) for column in range(1, COLUMNS + 1)]
    names = [well_name(*position) for position in positions]
    assert len(set(names)) == 3456
    assert [parse_well(name) for name in names] == positions


def test_parse_wells_keeps_order_and_index():
    table = parse_wells(pd.Series(["h12", "A1", "h12"], index=[5, 3, 9]))
    assert table.index.tolist() == [5, 3, 9]
    assert table["well"].tolist() == ["H12", "A01", "H12"]
    assert table["row"].tolist() == [8, 1, 8]
    assert table["column"].tolist() == [12, 1, 12]


def test_parse_wells_of_nothing_is_empty():
    assert parse_wells(pd.Series([], dtype="object")).empty


def test_strange_and_missing_names_are_listed():
    with pytest.raises(DataError, match=r"no names of wells: 'plate', 'XX1'; expected"):
        parse_wells(pd.Series(["A1", "plate", "XX1"]))
    with pytest.raises(DataError, match="2 rows name no well"):
        parse_wells(pd.Series(["A1", None, None]))
