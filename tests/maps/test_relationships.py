"""Every form in which people keep known relationships."""

import pytest

from cellmae.errors import DataError
from cellmae.maps import read_relationships


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
