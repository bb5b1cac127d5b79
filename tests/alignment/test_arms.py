"""Proximity bias: planted, measured, removed."""

import numpy as np
import pandas as pd
import pytest

from cellmae.alignment.arms import ArmSums, unexpressed_genes
from cellmae.errors import DataError

ARMS = ["1p", "1q", "2p", "2q"]
DIMENSIONS = 16


def planted(*, genes=60, guides=3, wells=2, bias=4.0, seed=0):
    """Return wells with an offset an arm, in which genes are related by pairs of different arms.

    One half of the genes of each arm is not expressed, and has no effect of its own.
    """
    random = np.random.default_rng(seed)
    names = np.array([f"g{number:03d}" for number in range(genes * len(ARMS))])
    arms = pd.Series(np.tile(ARMS, genes), index=names, dtype=object)
    expression = pd.Series(np.where(np.arange(len(names)) < len(names) // 2, -5.0, 1.0), index=names)
    offsets = bias * random.normal(size=(len(ARMS), DIMENSIONS))
    pairs = random.normal(size=(len(names) // 2, DIMENSIONS)) * 3
    # Neighbours, which lie on different arms, share an effect.
    effects = np.where((expression < -3).to_numpy()[:, None], 0, np.repeat(pairs, 2, axis=0))
    obs = pd.DataFrame({"gene": np.repeat(names, guides * wells)})
    obs["guide"] = obs["gene"] + "_" + (np.arange(len(obs)) // wells % guides).astype(str)
    arm = pd.Series(np.tile(np.arange(len(ARMS)), genes), index=names)
    true = effects[pd.Index(names).get_indexer(obs["gene"])]
    T = true + offsets[arm[obs["gene"]]] + random.normal(size=true.shape)
    return T, obs, arms, expression


def fit(T, obs, arms, measured_on, *, min_genes=20, chunks=1):
    sums = ArmSums(pd.Index(obs["gene"]), obs["guide"], arms, measured_on, T.shape[1])
    for rows in np.array_split(np.arange(len(T)), chunks):
        sums.add(rows, T[rows])
    return sums.fit(min_genes)


def within_and_between(T, obs, arms):
    """Return the mean cosine of genes of one arm, and of genes of different arms."""
    genes = pd.DataFrame(T).groupby(obs["gene"].to_numpy()).mean()
    unit = genes.to_numpy() / np.linalg.norm(genes, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = arms[genes.index].to_numpy()[:, None] == arms[genes.index].to_numpy()
    other = ~np.eye(len(cosine), dtype=bool)
    return cosine[same & other].mean(), cosine[~same].mean(), cosine


def test_planted_bias_vanishes_and_real_pairs_stay():
    T, obs, arms, expression = planted()
    within, between, before = within_and_between(T, obs, arms)
    assert within > between + 0.3
    correction = fit(T, obs, arms, unexpressed_genes(expression, -3, arms))
    assert dict(zip(correction.arms, correction.genes_behind, strict=True)) == dict.fromkeys(ARMS, 30)
    within, between, after = within_and_between(correction.apply(T, pd.Index(obs["gene"])), obs, arms)
    assert abs(within - between) < 0.03
    partners = np.arange(120, 240, 2)
    assert after[partners, partners + 1].mean() > 0.95
    assert before[partners, partners + 1].mean() < 0.6


def test_the_mean_of_all_genes_will_do():
    T, obs, arms, _ = planted()
    correction = fit(T, obs, arms, None)
    assert correction.genes_behind.tolist() == [60] * 4
    within, between, _ = within_and_between(correction.apply(T, pd.Index(obs["gene"])), obs, arms)
    assert abs(within - between) < 0.06


def test_formula_of_proxbias():
    T, obs, arms, expression = planted(guides=1, wells=1)
    corrected = fit(T, obs, arms, unexpressed_genes(expression, -3, arms)).apply(T, pd.Index(obs["gene"]))
    slow = T.copy()
    for arm in ARMS:
        on_arm = [row for row, gene in enumerate(obs["gene"]) if arms[gene] == arm]
        silent = [row for row in on_arm if expression[obs["gene"][row]] < -3]
        assert len(silent) > 20
        for row in on_arm:
            slow[row] = T[row] - sum(T[other] for other in silent) / len(silent)
    np.testing.assert_allclose(corrected, slow, rtol=1e-12, atol=1e-12)


def test_genes_are_counted_and_not_guides_or_wells(caplog):
    T, obs, arms, expression = planted(genes=40)  # 20 of each arm without expression
    silent = unexpressed_genes(expression, -3, arms)
    correction = fit(T, obs, arms, silent, min_genes=20)
    assert correction.genes_behind.tolist() == [20] * 4
    few = fit(T, obs, arms, silent.drop("g000"), min_genes=20)  # of 1p, with 19 genes, 57 guides and 114 wells
    assert few.arms.tolist() == ["1q", "2p", "2q"]
    assert few.describe()["uncorrected"] == {"1p": 19}
    assert "1 of 4 arms have fewer than 20 genes to measure an offset on, and stay: 1p (19)" in caplog.text
    on_it = (obs["gene"].map(arms) == "1p").to_numpy()
    np.testing.assert_array_equal(few.apply(T, pd.Index(obs["gene"]))[on_it], T[on_it])


def test_guides_of_a_gene_weigh_alike():
    obs = pd.DataFrame({"gene": ["a"] * 4 + ["b"], "guide": ["a1", "a1", "a1", "a2", None]})
    T = np.array([[1.0], [2.0], [3.0], [6.0], [8.0]])
    correction = fit(T, obs, pd.Series({"a": "1p", "b": "1p"}), None, min_genes=2)
    assert correction.offsets.tolist() == [[((1 + 2 + 3) / 3 + 6) / 2 / 2 + 8 / 2]]


def test_genes_whose_names_begin_like_loci_are_genes():
    obs = pd.DataFrame({"gene": ["LOX", "LONP1", "LOC1"], "guide": ["", "", ""]})
    correction = fit(np.ones((3, 2)), obs, pd.Series("5q", index=obs["gene"]), None, min_genes=3)
    assert correction.genes_behind.tolist() == [3]
    assert not correction.apply(np.ones((3, 2)), pd.Index(obs["gene"])).any()


def test_new_genes_of_an_arm_are_corrected_and_all_else_stays():
    T, obs, arms, expression = planted()
    correction = fit(T, obs, pd.concat([arms, pd.Series({"new": "1p"})]), unexpressed_genes(expression, -3, arms))
    later = correction.apply(np.zeros((4, DIMENSIONS)), pd.Index(["new", "g000", "control", None]))
    np.testing.assert_array_equal(later[0], later[1])
    assert later[0].any()
    assert not later[2:].any()


def test_chunks_give_the_same():
    T, obs, arms, expression = planted()
    silent = unexpressed_genes(expression, -3, arms)
    whole, parts = (fit(T, obs, arms, silent, chunks=chunks) for chunks in (1, 7))
    np.testing.assert_allclose(whole.offsets, parts.offsets, atol=1e-12)


def test_no_arm_with_enough_genes_changes_nothing():
    T, obs, arms, _ = planted(genes=3)
    correction = fit(T, obs, arms, None)
    assert correction.offsets.shape == (0, DIMENSIONS)
    np.testing.assert_array_equal(correction.apply(T, pd.Index(obs["gene"])), T)


def test_tables_without_a_common_gene_are_named():
    T, obs, arms, expression = planted(genes=1)
    with pytest.raises(DataError, match=r"^genes.arms: none of the screen's 4 genes \(g000, .* table's 4 \(x, "):
        fit(T, obs, arms.set_axis(list("xyzw")), None)
    with pytest.raises(DataError, match=r"^genes.expression: none of its 4 genes"):
        unexpressed_genes(expression, -3, arms.set_axis(list("xyzw")))
