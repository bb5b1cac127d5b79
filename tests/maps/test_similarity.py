"""Cosines block by block against the whole matrix, and their distribution against slow counts."""

import numpy as np
import pytest

from cellmae.maps import similarity
from cellmae.maps.similarity import Null, cosine_matrix, cosine_rows, cosines_of, pairs_apart, unit_vectors

ROWS = 23


@pytest.fixture
def vectors():
    """Profiles among which one is zero, one undefined, and two are the same."""
    vectors = np.random.default_rng(0).normal(size=(ROWS, 5))
    vectors[3], vectors[7], vectors[9] = 0, np.nan, vectors[8]
    return vectors


@pytest.fixture(params=[1, 3 * ROWS, 10**6], autouse=True)
def block_size(request, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_SIZE", request.param)


def test_rows_are_those_of_the_matrix(vectors):
    blocks = list(cosine_rows(unit_vectors(vectors)))
    np.testing.assert_allclose(np.vstack([block for _, block in blocks]), cosine_matrix(vectors), atol=1e-12)
    assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks)])[:-1])


def test_cosines_of_pairs_do_not_depend_on_their_order(vectors):
    pairs = np.random.default_rng(1).integers(ROWS, size=(60, 2))
    cosines = cosines_of(unit_vectors(vectors), pairs)
    np.testing.assert_array_equal(cosines, cosines_of(unit_vectors(vectors), pairs[:, ::-1]))
    np.testing.assert_allclose(cosines, cosine_matrix(vectors)[tuple(pairs.T)], atol=1e-12)


def test_null_holds_each_pair_once(vectors):
    null = Null.of(unit_vectors(vectors))
    expected = np.sort(np.nan_to_num(cosine_matrix(vectors)[np.triu_indices(ROWS, k=1)]))
    np.testing.assert_allclose(null.values, expected, atol=1e-12)
    assert null.undefined == ROWS * (ROWS - 1) // 2 - (ROWS - 2) * (ROWS - 3) // 2


def test_null_of_different_groups_leaves_out_the_others(vectors):
    groups = np.random.default_rng(2).integers(-1, 4, size=ROWS)
    first, second = np.triu_indices(ROWS, k=1)
    apart = [a != b and a >= 0 and b >= 0 for a, b in zip(groups[first], groups[second], strict=True)]
    expected = np.sort(np.nan_to_num(cosine_matrix(vectors)[first, second][apart]))
    np.testing.assert_allclose(Null.of(unit_vectors(vectors), groups).values, expected, atol=1e-12)
    np.testing.assert_array_equal(pairs_apart(groups[first], groups[second]), apart)


@pytest.mark.parametrize(("lower", "upper"), [(-0.3, 0.4), (0.1, 0.5), (-0.5, -0.1), (0.0, 0.0), (-2, 2)])
def test_share_beyond_counts_defined_pairs_alone(vectors, lower, upper):
    cosines = cosine_matrix(vectors)[np.triu_indices(ROWS, k=1)]
    expected = np.mean((cosines < lower) | (cosines > upper))
    assert Null.of(unit_vectors(vectors)).share_beyond(lower, upper) == pytest.approx(expected)


def test_p_values_are_a_slow_count(vectors):
    null = Null.of(unit_vectors(vectors))
    cosines = np.array([-0.9, -0.2, 0.0, 1.0, np.nan])
    expected = [
        min(1, 2 * (1 + min((null.values <= cosine).sum(), (null.values >= cosine).sum())) / (1 + len(null.values)))
        for cosine in cosines[:-1]
    ]
    np.testing.assert_allclose(null.p_values(cosines), [*expected, np.nan])


def test_p_values_of_a_map_without_differences_are_one():
    units = unit_vectors(np.full((ROWS, 7), 0.37))
    assert (Null.of(units).p_values(np.ones(3)) == 1).all()
