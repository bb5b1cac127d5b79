"""Perturbations and batches that cannot be told apart."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats.contingency import association

from cellmae.screen.confounding import check_confounding, cramers_v


def wells(**batches: str) -> pd.DataFrame:
    """Return the wells of batches: a letter a perturbation, ``-`` a negative control."""
    rows = [(batch, name) for batch, names in batches.items() for name in names]
    table = pd.DataFrame(rows, columns=["batch", "perturbation"])
    table["role"] = np.where(table["perturbation"] == "-", "negative_control", "treatment")
    return table


def test_nothing_is_wrong_where_batches_are_alike():
    found = check_confounding(wells(b1="--abc", b2="--abc"))
    assert (found.batches, found.perturbations, found.in_one_batch) == (2, 3, 0)
    assert found.association == 0
    assert found.notes() == []


def test_controls_separate_what_occurs_in_one_batch():
    found = check_confounding(wells(b1="-ab", b2="-ac"))
    assert found.in_one_batch == 2
    assert found.inseparable == ()
    assert len(found.separate) == 1
    assert found.notes() == [
        "2 of 3 perturbations occur in one batch only: only that batch's controls tell their effect from the batch's"
    ]


def test_perturbations_of_a_batch_without_controls_are_inseparable():
    found = check_confounding(wells(b1="-ab", b2="acd", b3="-a"))
    assert found.inseparable == ("c", "d")
    assert found.batches_without_controls == ("b2",)
    assert found.separate == (("b1", "b2", "b3"),)
    assert "no negative control in 1 of 3 batches (b2)" in found.notes()[0]
    assert "2 of 4 perturbations occur only in a batch without negative controls" in found.notes()[1]


def test_batches_that_nothing_joins_are_named():
    found = check_confounding(wells(b1="-a", b2="-b", b3="xy", b4="yz", b5="q"))
    assert found.separate == (("b1", "b2"), ("b3", "b4"), ("b5",))
    assert "3 groups of batches share neither negative controls nor perturbations" in found.notes()[-1]
    assert "b1, b2; b3, b4; b5" in found.notes()[-1]


def test_batches_of_their_own_perturbations_are_associated():
    found = check_confounding(wells(b1="-" + "ab" * 30, b2="-" + "cd" * 30))
    assert found.association == pytest.approx(1, abs=0.02)
    assert "batches hold different perturbations (Cramer's V 0.99)" in found.notes()[-1]


def test_one_batch_confounds_nothing():
    found = check_confounding(wells(b1="abc-"))
    assert (found.in_one_batch, found.inseparable) == (0, ())
    assert np.isnan(found.association)
    assert found.as_json()["association"] is None
    assert found.notes() == []


def test_association_is_that_of_scipy_less_its_bias():
    table = np.random.default_rng(0).poisson(3, size=(7, 4)) + np.eye(7, 4, dtype=int) * 9
    n, (rows, columns) = table.sum(), table.shape
    squared = association(table, method="cramer") ** 2 * 3
    corrected = max(squared - (rows - 1) * (columns - 1) / (n - 1), 0)
    fewer = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    assert cramers_v(sparse.csr_array(table)) == pytest.approx(np.sqrt(corrected / fewer), rel=1e-12)


def test_association_of_independent_counts_is_near_zero():
    random = np.random.default_rng(1)
    values = [
        check_confounding(
            pd.DataFrame(
                {"batch": random.integers(0, 5, 600), "perturbation": random.integers(0, 100, 600), "role": "treatment"}
            )
        ).association
        for _ in range(20)
    ]
    assert np.mean(values) < 0.06


def test_another_column_may_be_the_batch():
    table = wells(b1="-a", b2="-b").assign(plate="p1")
    assert check_confounding(table, batch="plate").batches == 1
