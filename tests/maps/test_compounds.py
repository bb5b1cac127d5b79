"""Compounds and the genes that they hit."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.errors import DataError
from cellmae.maps import read_potencies, score_compounds


def screen(similarity, *, genes=60, compounds=8, seed=0):
    """Each compound hits three genes, and resembles them or their opposite at its higher dose."""
    generator = np.random.default_rng(seed)
    profiles = generator.normal(size=(genes, 24))
    names = [f"g{number:02d}" for number in range(genes)]
    rows = [(f"c{number}", names[3 * number + hit], 100.0) for number in range(compounds) for hit in range(3)]
    rows += [(f"c{number}", name, 50_000.0) for number in range(compounds) for name in names[40:]]
    rows += [("c0", names[-1], 5000.0)]
    doses, owners = [], []
    for number in range(compounds):
        hit = profiles[3 * number : 3 * number + 3].sum(axis=0) * (-1) ** number
        doses += [generator.normal(size=24), similarity * hit + generator.normal(size=24)]
        owners += [f"c{number}"] * 2
    levels = [AnnData(np.array(doses), obs=pd.DataFrame({"perturbation": owners}, index=[str(i) for i in range(16)]))]
    index = names + [f"c{number}" for number in range(compounds)]
    X = np.vstack([profiles, np.array(doses)[1::2]])
    potencies = pd.DataFrame(rows, columns=["compound", "gene", "potency_nM"])
    lowest = potencies.groupby(["compound", "gene"])["potency_nM"].min().reset_index()
    return levels[0], AnnData(X, obs=pd.DataFrame(index=index)), lowest


def test_compounds_that_resemble_their_genes_or_the_opposite_score_high():
    table = score_compounds(*screen(3.0))
    assert table["average_precision"].min() > 0.7
    assert table["positives"].tolist() == [3] * 8
    assert table["negatives"].tolist() == [20] * 8
    assert table["doses"].eq(2).all()


def test_unrelated_compounds_score_chance():
    tables = pd.concat([score_compounds(*screen(0, seed=seed)) for seed in range(8)])
    assert tables["average_precision"].mean() == pytest.approx(tables["chance"].mean(), abs=0.05)


def test_order_of_negatives_does_not_matter_where_all_are_taken():
    treatments, genes, potencies = screen(0.5)
    own = ["g03", *potencies.loc[potencies["compound"] == "c0", "gene"]]
    kept = potencies[potencies["gene"].isin(own)]
    scores = [score_compounds(treatments, genes, kept, seed=seed, samples=1) for seed in (0, 1)]
    row = scores[0].set_index("compound").loc["c0"]
    assert row["average_precision"] == scores[1].set_index("compound").loc["c0", "average_precision"]
    unit = lambda X: X / np.linalg.norm(X, axis=-1, keepdims=True)  # noqa: E731
    cosine = np.abs(unit(treatments.X[:2]) @ unit(genes.X[:60]).T).max(axis=0)
    others = [*range(40, 59), 3]  # the last gene is hit at 5,000 nM: neither
    ranks = np.sort([1 + sum(cosine[g] > cosine[hit] for g in [0, 1, 2, *others]) for hit in range(3)])
    assert row["average_precision"] == pytest.approx(np.mean([1, 2, 3] / ranks))


def test_compounds_are_skipped_with_a_reason():
    treatments, genes, potencies = screen(1)
    potencies.loc[potencies["compound"] == "c1", "potency_nM"] = 20_000
    table = score_compounds(treatments, genes, potencies).set_index("compound")
    assert table.loc["c1", "reason"] == "no gene of the map that it hits at 1000 nM or below"
    few = score_compounds(treatments, genes, potencies[potencies["potency_nM"] <= 1000].iloc[:12])
    assert few["reason"].unique().tolist() == ["9 other genes, of at least 20 that are drawn as negatives"]
    assert few["average_precision"].isna().all()


def test_potencies_are_read_and_renamed(tmp_path):
    (tmp_path / "t.csv").write_text("compound,gene,potency_nM,source\nA, TP53,10,x\nA,P53,5,y\nB,EGFR,2000,z\n")

    class Aliases:
        def resolve(self, names):
            return names.str.replace("^P53", "TP53", regex=True)

    table = read_potencies(tmp_path / "t.csv", Aliases())
    assert table.to_numpy().tolist() == [["A", "TP53", 5.0], ["B", "EGFR", 2000.0]]


def test_table_of_rxrx3_core_is_read_as_it_is(tmp_path):
    (tmp_path / "t.csv").write_text("treatment,gene_symbol,nM_value\nA,NA,10\n,EGFR,2000\nA,NA,20\n")
    assert read_potencies(tmp_path / "t.csv").to_numpy().tolist() == [["A", "NA", 10.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compound,gene\nA,B\n", "has the columns compound, gene: expected compound, gene, potency_nM"),
        ("compound,gene,potency_nM\nA,B,>10000\n", "the potency of A and B is no positive number"),
        ("compound,gene,potency_nM\nA,B,-1\n", "the potency of A and B is no positive number"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_potencies(tmp_path / "t.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_potencies(tmp_path / "absent.csv")
