"""What the map to explore says of perturbations."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import similarity, unit_vectors
from cellmae.report.explorer import cluster, describing_columns, explorer_blocks, known_partners, nearest

from .runs import SCRIPT


def groups(count: int, members: int, *, seed: int = 0) -> np.ndarray:
    """Profiles of length one in groups that point apart."""
    centres = np.repeat(np.eye(count, 12), members, axis=0)
    return unit_vectors(centres + 0.05 * np.random.default_rng(seed).normal(size=centres.shape))


def test_clusters_are_the_groups_and_the_largest_is_first() -> None:
    units = np.concatenate([groups(6, 5), groups(1, 6, seed=1)])  # 36 profiles, so that six clusters are asked for
    labels = cluster(units, nearest(units, count=8)[0])
    assert set(labels) == set(range(1, 7))
    assert set(labels[:5]) == set(labels[30:]) == {1}
    assert all(len(set(labels[start : start + 5])) == 1 for start in range(0, 30, 5))


@pytest.mark.parametrize("rows_at_a_time", [4, 1000])
def test_neighbours_are_those_of_the_whole_matrix(rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK_SIZE", 21 * rows_at_a_time)
    units = unit_vectors(np.random.default_rng(0).normal(size=(21, 5)))
    indices, cosines = nearest(units, count=6)
    every = units @ units.T
    np.fill_diagonal(every, -2)
    expected = np.argsort(-every, axis=1)[:, :6]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(cosines, np.take_along_axis(every, expected, axis=1))


def test_partners_are_told_from_both_ends_once_with_all_their_sources() -> None:
    units = unit_vectors(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    pairs = pd.DataFrame(
        [("Y", "b", "a"), ("X", "a", "b"), ("X", "a", "c"), ("X", "a", "absent"), ("X", "c", "c")],
        columns=["source", "entity1", "entity2"],
    )
    table = known_partners(pd.Index(["a", "b", "c"]), units, pairs)
    assert table[["index", "partner", "sources"]].to_numpy().tolist() == [
        *([0, 1, "X, Y"], [0, 2, "X"], [1, 0, "X, Y"], [2, 0, "X"])
    ]
    np.testing.assert_allclose(table["cosine"], [0.5**0.5, 0, 0.5**0.5, 0], atol=1e-9)


def test_columns_that_say_nothing_are_left_out() -> None:
    obs = pd.DataFrame(
        {
            "activity_fdr": [0.0123456, np.nan, 1.0],
            "arm": ["17p", None, "1q"],
            "active": [True, False, True],
            "role": "treatment",
        }
    )
    numbers, arm, active = describing_columns(obs)
    assert numbers == {"name": "activity fdr", "kind": "numbers", "values": [0.01235, None, 1.0]}
    assert arm == {"name": "arm", "kind": "levels", "levels": ["17p", "1q"], "values": [0, -1, 1]}
    assert active["levels"] == ["False", "True"]


def test_page_holds_what_the_map_says(monkeypatch: pytest.MonkeyPatch) -> None:
    units = groups(5, 5)
    names = [SCRIPT, *(f"g{number}" for number in range(1, 25))]
    pairs = pd.DataFrame([("X", "g1", SCRIPT)], columns=["source", "entity1", "entity2"])
    blocks = explorer_blocks(
        pd.DataFrame(units, index=names), pd.DataFrame(index=names), pairs, label="mae with tvn", seed=0
    )
    data = blocks[0].data
    assert data["names"] == names
    assert set(data["neighbours"][0][:4]) == {1, 2, 3, 4}
    assert data["cosines"][0][0] == round(1000 * max(units[0] @ units[1:].T))
    assert data["partners"][1] == [0, 0, round(1000 * float(units[0] @ units[1]))]
    assert data["sources"] == ["X"]
    assert data["partnerCounts"] == [1, 1] + 23 * [0]
    assert blocks[1].frame.loc[1, "known_partners"] == SCRIPT


def test_few_perturbations_are_not_laid_out() -> None:
    units = pd.DataFrame(groups(3, 2))
    (text,) = explorer_blocks(units, pd.DataFrame(index=units.index), pd.DataFrame(), label="", seed=0)
    assert "needs 20 perturbations" in text.paragraphs[0]
