"""The centre of a batch's controls, with and without help from all its wells."""

import numpy as np
import pytest

from cellmae.alignment.centring import Centring, Locations, fit_centring, fit_standardiser
from cellmae.alignment.chunks import ArrayChunks, BatchRows
from cellmae.alignment.moments import BatchMoments, batch_moments


def simulate(generator, *, batches=12, controls=6, treated=60, composition=0.0, features=30):
    """Return wells, their batches, and where the controls of each batch truly lie."""
    centres = 5 * generator.normal(size=(batches, features))
    blocks, labels, roles = [], [], []
    for batch, centre in enumerate(centres):
        offset = 0.5 + composition * generator.normal(size=features)
        blocks += [centre + generator.normal(size=(controls, features))]
        blocks += [centre + offset + generator.normal(size=(treated, features))]
        labels += [f"{batch:02d}"] * (controls + treated)
        roles += [True] * controls + [False] * treated
    return np.vstack(blocks), BatchRows.of(labels, np.array(roles)), centres


def moments_of(X, batches) -> BatchMoments:
    return batch_moments(ArrayChunks(X), batches)


def fitted(X, batches) -> tuple[Centring, Locations]:
    moments = moments_of(X, batches)
    centring = fit_centring(moments)
    return centring, centring.locate(moments)


def of_each(values, batches, chosen):
    """Return the mean of the chosen wells of each batch."""
    return np.stack([values[chosen & (batches.codes == batch)].mean(axis=0) for batch in range(len(batches.names))])


@pytest.mark.parametrize("composition", [0.0, 0.2, 1.0])
def test_centre_is_no_worse_than_the_better_of_both_estimates(composition):
    generator = np.random.default_rng(0)
    errors = np.zeros(3)
    for _ in range(10):
        X, batches, truth = simulate(generator, composition=composition)
        centre = fitted(X, batches)[1].centre
        own = of_each(X, batches, batches.is_control)
        everything = of_each(X, batches, np.full(len(X), True))
        borrowed = everything - (everything - own).mean(axis=0)
        errors += [np.square(estimate - truth).mean() for estimate in (centre, own, borrowed)]
    assert errors[0] < 1.03 * errors[1:].min()


def test_weight_of_own_controls_follows_what_can_be_borrowed():
    generator = np.random.default_rng(1)
    alike, unlike = (
        fitted(X, batches)[1].own_weight.mean()
        for X, batches, _ in (simulate(generator, composition=0.0), simulate(generator, composition=1.0))
    )
    assert alike < 0.15
    assert unlike > 0.7


def test_batch_without_controls_borrows_its_centre():
    X, batches, truth = simulate(np.random.default_rng(2))
    batches.is_control[batches.codes == 3] = False
    places = fitted(X, batches)[1]
    assert places.own_weight[3] == 0
    assert np.abs(places.centre[3] - truth[3]).mean() < 0.5


def test_single_batch_is_centred_on_its_controls():
    X, batches, _ = simulate(np.random.default_rng(3), batches=1)
    places = fitted(X, batches)[1]
    np.testing.assert_allclose(places.centre[0], X[batches.is_control].mean(axis=0))


def test_scale_of_a_batch_is_found_as_far_as_controls_tell():
    generator = np.random.default_rng(4)
    labels = np.repeat([f"{batch:02d}" for batch in range(10)], 40)
    stretch = np.repeat(np.linspace(0.5, 2, 10), 40)[:, None]
    X = stretch * generator.normal(size=(400, 25))
    many = BatchRows.of(labels, np.tile(np.arange(40) < 30, 10))
    few = BatchRows.of(labels, np.tile(np.arange(40) < 2, 10))
    found, barely = (fitted(X, rows)[1].scale.mean(axis=1) for rows in (many, few))
    assert found[-1] / found[0] > 2.5
    assert 1 <= barely[-1] / barely[0] < found[-1] / found[0]


@pytest.mark.parametrize("kind", ["centring", "standardiser"])
def test_constant_features_contribute_nothing(kind):
    X, batches, _ = simulate(np.random.default_rng(5))
    X[:, 0] = 0.1
    X[:, 1] = 3e4 * (1 + 1e-8 * np.random.default_rng(6).normal(size=len(X)))
    moments = moments_of(X, batches)
    places = (fit_centring if kind == "centring" else fit_standardiser)(moments).locate(moments)
    assert np.isinf(places.scale[:, :2]).all()
    assert np.isfinite(places.scale[:, 2:]).all()
    assert np.isfinite(places.centre).all()
