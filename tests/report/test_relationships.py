"""Strongest pairs, and what is known of them."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import similarity, unit_vectors
from cellmae.report.relationships import cluster_order, known_in, strongest_pairs


@pytest.mark.parametrize("rows_at_a_time", [3, 7, 100])
def test_strongest_pairs_are_those_of_the_whole_matrix(rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK_SIZE", 20 * rows_at_a_time)
    units = unit_vectors(np.random.default_rng(0).normal(size=(20, 6)))
    names = [f"g{number}" for number in range(20)]
    found = strongest_pairs(units, names, count=12)
    first, second = np.triu_indices(20, k=1)
    cosines = (units @ units.T)[first, second]
    order = np.argsort(-np.abs(cosines))[:12]
    expected = {(f"g{first[pair]}", f"g{second[pair]}") for pair in order}
    assert set(zip(found["entity1"], found["entity2"], strict=True)) == expected
    np.testing.assert_allclose(found["cosine"], cosines[order])


def test_pairs_are_known_in_either_direction() -> None:
    strongest = pd.DataFrame({"entity1": ["a", "b", "a"], "entity2": ["b", "c", "c"]})
    pairs = pd.DataFrame(
        [("X", "b", "a"), ("Y", "a", "b"), ("X", "b", "c"), ("X", "a", "z")], columns=["source", "entity1", "entity2"]
    )
    assert known_in(strongest, pairs) == ["X, Y", "X", ""]


def test_alike_rows_become_neighbours() -> None:
    directions = np.tile(np.eye(3), (4, 1)) + 0.05 * np.random.default_rng(0).normal(size=(12, 3))
    units = unit_vectors(directions)
    order = cluster_order(units @ units.T)
    kinds = (order % 3).reshape(3, 4)
    assert all(len(set(row)) == 1 for row in kinds.tolist())
