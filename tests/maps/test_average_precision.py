"""Average precision with averaged ties, and its null, against every order and against plain loops."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import activity, sharing
from cellmae.maps.average_precision import Null, average_precisions, expected_precision, random_precision, with_fdr
from cellmae.maps.groups import Groups
from cellmae.maps.similarity import unit_vectors


def plain_precision(order):
    """Average precision of relevances in the order of their rank."""
    hits = np.cumsum(order)
    return np.mean([hits[place] / (place + 1) for place, relevant in enumerate(order) if relevant])


@pytest.mark.parametrize(
    ("values", "relevant"),
    [
        ([3, 2, 1, 0], [1, 0, 1, 0]),
        ([1, 1, 1, 1, 1], [1, 1, 0, 0, 0]),
        ([2, 2, 1, 1, 1, 0], [1, 0, 1, 1, 0, 0]),
        ([5, 4, 4, 4, 4, 2, 2], [0, 1, 0, 1, 0, 1, 1]),
        ([1, 1, 0], [0, 0, 1]),
    ],
)
def test_ties_count_as_the_mean_over_all_their_orders(values, relevant):
    values, relevant = np.array(values), np.array(relevant)
    orders = [order for order in permutations(range(len(values))) if (np.diff(values[list(order)]) <= 0).all()]
    expected = np.mean([plain_precision(relevant[list(order)]) for order in orders])
    own = values[relevant == 1][:, None]
    counts = [f(values[relevant == kind], own).sum(axis=1) for f in (np.greater, np.equal) for kind in (1, 0)]
    assert expected_precision(*counts).mean() == pytest.approx(expected, abs=1e-12)


def test_chance_is_the_mean_over_all_orders():
    orders = set(permutations([1, 1, 1, 0, 0, 0, 0]))
    expected = np.mean([plain_precision(order) for order in orders])
    assert random_precision(np.array(3), np.array(4)) == pytest.approx(expected, abs=1e-12)


def screen(*, perturbations=30, wells=5, controls=60, effect=2.0, dimensions=24, seed=0):
    generator = np.random.default_rng(seed)
    effects = np.repeat(generator.normal(size=(perturbations, dimensions)), wells, axis=0)
    X = effect * effects + generator.normal(size=effects.shape)
    X = np.vstack([X, generator.normal(size=(controls, dimensions))])
    labels = pd.Series([f"p{number:02d}" for number in range(perturbations) for _ in range(wells)] + [None] * controls)
    return X, Groups.of(labels), np.arange(perturbations * wells, len(X))


@pytest.mark.parametrize("ties", [False, True])
def test_activity_is_the_plain_loop(ties):
    X, groups, controls = screen(effect=0.5, wells=4)
    if ties:
        X = np.sign(X[:, :3])
    table = activity(X, groups, controls, draws=99)
    units = unit_vectors(X)
    for number in (0, 7, 29):
        own = np.flatnonzero(groups.codes == number)
        precision = []
        for query in own:
            cosine = np.round(units @ units[query], 12)
            hits, misses = cosine[own[own != query]], cosine[controls]
            above, tied = ((f(hits, hits[:, None]).sum(axis=1)) for f in (np.greater, np.equal))
            negatives = ((f(misses, hits[:, None]).sum(axis=1)) for f in (np.greater, np.equal))
            over, beside = negatives
            precision.append(expected_precision(above, over, tied, beside).mean())
        assert table["map"].iloc[number] == pytest.approx(np.mean(precision), abs=1e-12)
    assert table["wells"].eq(4).all()


def test_large_and_small_groups_are_scored_alike(monkeypatch):
    X, groups, controls = screen(wells=6)
    expected = average_precisions(X, groups, unit_vectors(X[controls]))
    monkeypatch.setattr("cellmae.maps.average_precision.COSINES_AT_ONCE", 500)
    np.testing.assert_allclose(average_precisions(X, groups, unit_vectors(X[controls])), expected, atol=1e-12)


def test_strong_effects_are_active_and_none_are_not():
    strong = activity(*screen(effect=3.0))
    assert strong["map"].min() > 0.9
    assert (strong["fdr"] < 0.01).all()
    p_values = np.concatenate([activity(*screen(effect=0, seed=seed))["p_value"] for seed in range(10)])
    assert np.mean(p_values < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("size", "negatives"), [(2, 10), (4, 25), (9, 5)])
def test_null_is_centred_on_chance(size, negatives):
    null = Null.of(size, negatives, draws=20_000, seed=0)
    assert null.values.mean() == pytest.approx(random_precision(np.array(size - 1), np.array(negatives)), rel=0.02)
    assert null.p_values(np.array([1.1, 1.0, 0.0])) == pytest.approx(
        [1 / 20_001, (1 + np.sum(null.values > 1 - 1e-9)) / 20_001, 1]
    )


def test_members_of_a_pair_share_its_similarity():
    """Independent draws would give two members half the variance of one; they share all but the controls."""
    one = Null.of(2, 30, draws=20_000, seed=0).values.var()
    generator = np.random.default_rng(0)
    independent = np.mean([1 / (1 + generator.integers(0, 31, 20_000)) for _ in range(2)], axis=0).var()
    assert one > 1.3 * independent


def test_sharing_takes_all_other_items_as_negatives():
    X, groups, _ = screen(perturbations=12, wells=2, controls=5, effect=0.7)
    table = sharing(X, groups, draws=99)
    cosine = unit_vectors(X) @ unit_vectors(X).T
    np.fill_diagonal(cosine, -np.inf)
    for number in range(12):
        first, second = np.flatnonzero(groups.codes == number)
        ranks = [1 + np.sum(cosine[a] > cosine[a, b]) for a, b in ((first, second), (second, first))]
        assert table["map"].iloc[number] == pytest.approx(np.mean(1 / np.array(ranks)))
    assert table["chance"].iloc[0] == pytest.approx(np.mean(1 / np.arange(1, 29 - 1 + 1)))


def test_single_wells_and_missing_controls_are_undefined():
    X, groups, controls = screen(perturbations=3, wells=2)
    alone = groups.only(np.arange(len(X)) != 0)
    assert activity(X, alone, controls, draws=99)["map"].isna().tolist() == [True, False, False]
    assert activity(X, groups, controls[:0], draws=99)[["map", "p_value", "fdr"]].isna().all(axis=None)


def test_fdr_leaves_out_what_was_not_tested():
    table = with_fdr(pd.DataFrame({"p_value": [0.01, np.nan, 0.04]}))
    assert table["fdr"].tolist()[::2] == pytest.approx([0.02, 0.04])
    assert np.isnan(table["fdr"][1])
