"""Tables of genes as people have them."""

import logging

import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.genes import chromosome_arm, read_aliases, read_arms, read_expression, require_shared

HGNC = """hgnc_id\tsymbol\tname\tlocation\talias_symbol\tprev_symbol
HGNC:11998\tTP53\ttumor protein p53\t17p13.1\t"p53|LFS1"\t
HGNC:6664\tLOX\tlysyl oxidase\t5q23.1\t\t
HGNC:9479\tLONP1\tlon peptidase 1\t19p13.3\t"LONP|LFS1"\tPRSS15
HGNC:28337\tC9orf72\tC9orf72-SMCR8 complex subunit\t9p21.2\tMGC23980\t
HGNC:9999\tODD\tits alias is a symbol\t1q21\tLOX\t
HGNC:1\tMTX\tmitochondrial\tmitochondria\t\t
"""


@pytest.fixture
def hgnc(tmp_path):
    path = tmp_path / "hgnc_complete_set.txt"
    path.write_text(HGNC)
    return path


def test_aliases_become_symbols(hgnc):
    aliases = read_aliases(hgnc)
    names = ["p53", "TP53", "PRSS15", "C9ORF72", "LFS1", "LOX", "nothing"]
    assert aliases.resolve(names).tolist() == ["TP53", "TP53", "LONP1", "C9orf72", "LFS1", "LOX", "nothing"]
    assert aliases.unmatched(names).tolist() == ["LFS1", "nothing"]
    assert dict(aliases.ambiguous) == {"LFS1": ("LONP1", "TP53")}
    assert not aliases.symbols & set(aliases.renamed)


def test_names_are_resolved_in_place_and_missing_ones_stay(hgnc):
    names = pd.Series(["p53", None, "p53"], index=[7, 8, 9], dtype="category")
    resolved = read_aliases(hgnc).resolve(names)
    assert resolved[[0, 2]].tolist() == ["TP53", "TP53"]
    assert pd.isna(resolved[1])
    assert read_aliases(hgnc).resolve([]).tolist() == []


def test_what_is_not_matched_is_said(hgnc, caplog):
    with caplog.at_level(logging.INFO):
        read_aliases(hgnc).report(["p53", "LFS1", "nothing", "TP53"], "relationships")
    assert "4 aliases, 1 ambiguous ones, 1 that are symbols themselves and stay" in caplog.text
    assert "relationships: 1 of 4 names renamed: p53 -> TP53" in caplog.text
    assert "relationships: 1 of 4 names ambiguous and kept: LFS1 (LONP1 or TP53)" in caplog.text
    assert "relationships: 1 of 4 names unknown and kept: nothing" in caplog.text


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.csv.gz", "pairs.parquet"])
def test_two_columns_are_enough(tmp_path, name):
    table = pd.DataFrame({"Alias": ["p53", "old", "both"], "HGNC Symbol": ["TP53", "NEW", "NEW"]})
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    assert read_aliases(path).resolve(["p53", "old", "both"]).tolist() == ["TP53", "NEW", "NEW"]


def test_aliases_may_be_separated_by_commas(tmp_path):
    (tmp_path / "a.tsv").write_text("Approved symbol\tPrevious symbols\tAlias symbols\nTP53\told, older\tp53\n")
    assert read_aliases(tmp_path / "a.tsv").resolve(["older", "p53"]).tolist() == ["TP53", "TP53"]


@pytest.mark.parametrize(
    ("location", "arm"),
    [
        ("17p13.1", "17p"), ("chr17p", "17p"), ("Xq28", "Xq"), ("3q26-qter", "3q"), ("2pter-p25", "2p"), ("05q", "5q"),
        ("Xp22.33 and Yp11.32", "Xp"), ("17q21 not on reference assembly", "17q"),
        ("6p21 alternate reference locus", "6p"),
        ("1p13-q21", None), ("1p36 or 1q21", None), ("9cen-q12", None), ("5", None), ("mitochondria", None),
        ("reserved", None), ("unplaced", None), ("pter", None),
    ],
)  # fmt: skip
def test_arms_of_locations(location, arm):
    assert chromosome_arm(location) == arm


@pytest.mark.parametrize(
    "text",
    [
        "Gene,Arm\nTP53,17p\nLOX,5q\n",
        "gene,chromosome,band\nTP53,17,p13.1\nLOX,chr5,q23\n",
        "symbol,Cytoband\nTP53,17p13\nLOX,5q23.1\n",
    ],
)
def test_arms_are_found_in_every_form(tmp_path, text):
    (tmp_path / "arms.csv").write_text(text)
    assert read_arms(tmp_path / "arms.csv").to_dict() == {"TP53": "17p", "LOX": "5q"}


def test_arms_of_symbols(hgnc, tmp_path):
    (tmp_path / "arms.csv").write_text("gene,arm\np53,17p\nPRSS15,19p\nLONP1,19p\nOLD,\n")
    assert read_arms(tmp_path / "arms.csv", read_aliases(hgnc)).to_dict() == {"LONP1": "19p", "TP53": "17p"}
    assert read_arms(hgnc).to_dict() == {"C9orf72": "9p", "LONP1": "19p", "LOX": "5q", "ODD": "1q", "TP53": "17p"}


def test_a_gene_on_two_arms_has_none(tmp_path, caplog):
    (tmp_path / "arms.csv").write_text("gene,arm\nA,1p\nA,1q\nB,2p\n")
    assert read_arms(tmp_path / "arms.csv").to_dict() == {"B": "2p"}
    assert "genes on several arms count as on none: A" in caplog.text


def test_every_gene_of_a_real_table_lies_on_one_of_48_arms(test_data):
    arms = read_arms(test_data / "relationships/gene_chromosome_map.tsv")
    assert set(arms) == {f"{name}{arm}" for name in (*range(1, 23), "X", "Y") for arm in "pq"}
    assert len(arms) > 45_000
    assert arms[["TP53", "LOX", "LONP1"]].tolist() == ["17p", "5q", "19p"]


def test_expression(hgnc, tmp_path):
    (tmp_path / "x.csv").write_text("Gene,zFPKM,FPKM\np53,-4,1\nTP53,2.5,3\nLOX,-inf,0\nODD,,\n")
    expression = read_expression(tmp_path / "x.csv", read_aliases(hgnc))
    assert expression.to_dict() == {"LOX": -np.inf, "TP53": 2.5}


def test_expression_of_parquet_is_numbers(tmp_path):
    pd.DataFrame({"gene": ["A", "B"], "expression": [1.25, np.nan]}).to_parquet(tmp_path / "x.parquet")
    assert read_expression(tmp_path / "x.parquet").to_dict() == {"A": 1.25}


@pytest.mark.parametrize(
    ("read", "text", "error", "message"),
    [
        (read_arms, "a,b\n1,2\n", ConfigError, r"^genes.arms: .* no column for genes .*; it has a, b"),
        (read_arms, "gene,b\n1,2\n", ConfigError, r"^genes.arms: .* no column for chromosome arms or locations"),
        (read_arms, "gene,arm\nA,left\n", DataError, r"^genes.arms: no gene of .* has an arm"),
        (read_expression, "gene,b\n1,2\n", ConfigError, r"^genes.expression: .* no column for zFPKM"),
        (read_expression, "gene,zfpkm\nA,high\n", DataError, r"holds 'high' in the column 'zfpkm'"),
        (read_expression, "gene,zfpkm\nA,\n", DataError, "has no gene with a zFPKM"),
        (read_aliases, "symbol,b\n1,2\n", ConfigError, r"^genes.aliases: .* no column of aliases"),
        (read_aliases, "alias,b\n1,2\n", ConfigError, r"no column for the approved symbols"),
        (read_aliases, "alias,symbol\n1,\n", DataError, r"has no symbol in the column 'symbol'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, read, text, error, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(error, match=message):
        read(tmp_path / "table.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^genes.arms: the file .* does not exist"):
        read_arms(tmp_path / "arms.csv")


def test_tables_that_share_no_gene_are_shown_side_by_side():
    require_shared(["TP53", "x"], pd.Index(["TP53"]), key="genes.arms")
    with pytest.raises(
        DataError, match=r"^genes.arms: none of the screen's 2 genes \(MDM2, TP53\) .* table's 1 \(ENSG1\)"
    ):
        require_shared(["TP53", "MDM2"], pd.Index(["ENSG1"]), key="genes.arms")
