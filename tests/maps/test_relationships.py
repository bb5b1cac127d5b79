"""Every form in which people keep known relationships."""

import logging

import pandas as pd
import pytest

from cellmae.errors import DataError
from cellmae.maps import read_relationships, read_sets
from cellmae.maps.relationships import unmatched


class Renamed:
    """Stands in for a table of aliases: old names by new ones."""

    def resolve(self, names):
        return pd.Index([{"OLD": "NEW", "FORMER": "A"}.get(name, name) for name in names])


def pairs(path):
    return [tuple(pair) for pair in read_relationships(path).to_numpy()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "entity1,entity2\nB,A\nA,B\nC,C\nB,C\n"),
        ("a.txt", "\ufeffentity1,entity2\nA,B\n B ,C\n,C\n"),
        ("a.tsv", "score\tEntity2\tEntity1\n0.5\tA\tB\n0.1\tC\tB\n"),
        ("a.csv", 'source,"entity2","entity1"\nx,A,B\ny,C,B\n'),
    ],
)
def test_pairs_are_unordered_unique_and_of_two(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert pairs(tmp_path / name) == [("A", "B"), ("B", "C")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sets.gmt", "complex\thttp://x\tC\tA\tB\nsmall\t\tA\tB\nalone\t\tD\n"),
        ("clusters.tsv", "first complex, the\tC A B\nalone\tD\n"),
    ],
)
def test_members_of_a_set_are_all_paired(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert pairs(tmp_path / name) == [("A", "B"), ("A", "C"), ("B", "C")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sets.gmt", "first\thttp://x\tC\tA\tA\nsecond\t\t\n first\t\tB\t\tA\t\n"),
        ("sets.tsv", "first\tC A A\nsecond\t\nfirst\tB A\n"),
    ],
)
def test_sets_keep_their_names_and_are_not_merged(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    sets = read_sets(tmp_path / name)
    assert list(sets.itertuples(index=False, name=None)) == [
        ("first", "C"),
        ("first", "A"),
        ("first (2)", "B"),
        ("first (2)", "A"),
    ]
    assert pairs(tmp_path / name) == [("A", "B"), ("A", "C")]


def test_pairs_name_no_sets(tmp_path):
    (tmp_path / "a.csv").write_text("entity1,entity2\nA,B\n")
    assert read_sets(tmp_path / "a.csv") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "entity1,entity2\nOLD,B\nB,NEW\nOLD,NEW\nFORMER,NEW\n"), ("a.tsv", "one\tOLD NEW B\ntwo\tFORMER NEW\n")],
)
def test_names_are_replaced_by_approved_ones_before_pairs_are_counted(tmp_path, caplog, name, text):
    (tmp_path / name).write_text(text)
    caplog.set_level(logging.INFO, logger="cellmae")
    table = read_relationships(tmp_path / name, aliases=Renamed())
    assert [tuple(pair) for pair in table.to_numpy()] == [("A", "NEW"), ("B", "NEW")]
    assert "2 of 4 names replaced by approved ones: " in caplog.text
    assert "OLD to NEW" in caplog.text


def test_names_in_one_of_map_and_source_alone_are_listed(caplog):
    caplog.set_level(logging.INFO, logger="cellmae")
    known = {
        "one": pd.DataFrame({"entity1": ["A", "B"], "entity2": ["B", "X"]}),
        "two": pd.DataFrame({"entity1": ["A"], "entity2": ["C"]}),
    }
    table = unmatched(known, pd.Index(["C", "A", "B"]))
    assert [tuple(row) for row in table.to_numpy()] == [
        ("one", "map", "X"),
        ("one", "source", "C"),
        ("two", "source", "B"),
    ]
    assert "one names 3 perturbations, 2 of them in the map; not: X" in caplog.text
    assert "two names 2 perturbations, 2 of them in the map; not: none" in caplog.text


def test_genes_named_like_missing_values_are_kept(tmp_path):
    (tmp_path / "a.csv").write_text("entity1,entity2\nNA,NAN\n")
    assert pairs(tmp_path / "a.csv") == [("NA", "NAN")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("gene1,gene2\nA,B\n", "has the columns gene1, gene2: expected entity1 and entity2")],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_relationships(tmp_path / "a.csv")


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_relationships(tmp_path / "absent.csv")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="cannot be read"):
        read_relationships(tmp_path / "a.csv")


def test_real_sets_hold_the_real_pairs(test_data):
    clusters = read_relationships(test_data / "relationships" / "CORUM_clusters.tsv")
    listed = read_relationships(test_data / "relationships" / "CORUM.txt")
    assert len(listed) == 37_649
    assert len(listed.merge(clusters)) > 0.99 * len(listed)
