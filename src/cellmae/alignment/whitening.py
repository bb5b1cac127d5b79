"""Affine maps that give controls unit variance in every direction: the core of TVN.

Typical variation normalisation: Ando, McLean and Berndl 2017, *Improving Phenotypic Measurements in
High-Content Imaging Screens*, bioRxiv 161422.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import RELATIVE_RANK, inverse_root, principal_axes, shrink, shrinkage_weight
from cellmae.alignment.moments import within_covariance
from cellmae.logging import logger

FOLDS = 5
WEIGHTS = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.003, 0.001])
"""Never zero, so that no direction is divided by nothing."""


@dataclass(frozen=True)
class Whitening:
    """An affine map ``(Y - shift) @ matrix``.

    Attributes
    ----------
    shift
        Shape (components,).
    matrix
        Shape (components, dimensions).
    borrowed
        Weight of the covariance of all wells, next to that of the controls; 0 where only controls count.
    """

    shift: NDArray[np.float64]
    matrix: NDArray[np.float64]
    borrowed: float

    def apply(self, Y: NDArray) -> NDArray[np.float64]:
        """Return whitened coordinates, shape (wells, dimensions)."""
        whitened = Y @ self.matrix
        whitened -= self.shift @ self.matrix
        return whitened


@dataclass(frozen=True)
class Coordinates:
    """What whitening needs to know of wells on the principal axes.

    Attributes
    ----------
    controls
        Coordinates of the controls of each batch, shape (controls, components) each.
    variance
        Along each axis, of the wells that the axes were fitted on, shape (components,).
    covariance
        Covariance of all wells within batches, shape (components, components).
    freedom
        Its degrees of freedom; zero where it was not asked for.
    """

    controls: Sequence[NDArray[np.float64]]
    variance: NDArray[np.float64]
    covariance: NDArray[np.float64]
    freedom: int

    def whitened(self, whitening: Whitening) -> Sequence[NDArray[np.float64]]:
        """Return the whitened controls of each batch."""
        return [whitening.apply(own) for own in self.controls]


def no_whitening(wells: Coordinates) -> Whitening:
    """Return the identity."""
    components = len(wells.covariance)
    return Whitening(np.zeros(components), np.eye(components), 0.0)


def shrunk_whitening(wells: Coordinates) -> Whitening:
    """Whiten by the covariance of controls within batches, shrunk towards that of all wells.

    In coordinates that whiten all wells, the covariance of the controls is blended with a multiple of the
    identity, which there *is* the covariance of all wells; :func:`borrowed_weight` chooses the weight. The controls
    of each batch lie around zero.
    """
    by_all = inverse_root(shrink(wells.covariance, shrinkage_weight(wells.covariance, wells.freedom)))
    controls = [own @ by_all for own in wells.controls]
    shift = np.zeros(len(by_all))
    covariance, _ = within_covariance(controls)
    if np.trace(covariance) <= RELATIVE_RANK * len(covariance):
        return Whitening(shift, by_all, 1.0)
    borrowed = borrowed_weight(controls)
    return Whitening(shift, by_all @ inverse_root(shrink(covariance, borrowed)), borrowed)


def borrowed_weight(controls: Sequence[NDArray]) -> float:
    """Choose on held-out controls how much of all wells' covariance to blend with that of the controls.

    Let the covariance of all wells be the identity and that of controls C, so that the effects of
    perturbations have the covariance I - C. With the metric M, the inner product of two wells of one
    perturbation is larger than that of unrelated wells by tr(M (I - C)) in expectation, and unrelated ones
    scatter by |M|, the root of tr(M^2). The weight maximises the ratio of the two, where M is the inverse of
    the blended covariance of some controls and tr(M C) the mean squared length of the others.

    Parameters
    ----------
    controls
        Those of each batch, in coordinates that whiten all wells, shape (controls, components).

    Returns
    -------
    float
        1, all wells alone, where controls are too few to hold any out.
    """
    ratios = list(_held_out_ratios(controls))
    return float(WEIGHTS[np.mean(ratios, axis=0).argmax()]) if ratios else 1.0


def _held_out_ratios(controls: Sequence[NDArray]) -> Iterator[NDArray[np.float64]]:
    """Yield for each fold of controls the ratio of :func:`borrowed_weight`, shape (weights,)."""
    starts = np.cumsum([0, *(len(own) for own in controls)])[:-1]
    for fold in range(FOLDS):
        held_out = [(np.arange(len(own)) + start) % FOLDS == fold for own, start in zip(controls, starts, strict=True)]
        kept = [own[~held] for own, held in zip(controls, held_out, strict=True)]
        covariance, freedom = within_covariance(kept)
        tests = [
            (own[held] - others.mean(axis=0)) / np.sqrt(1 + 1 / len(others))
            for own, held, others in zip(controls, held_out, kept, strict=True)
            if len(others)
        ]
        test = np.concatenate([controls[0][:0], *tests])
        if not (freedom and len(test) and covariance.any()):
            continue
        values, vectors = np.linalg.eigh(covariance)
        values = np.maximum(values, 0)
        metric = 1 / (np.outer(1 - WEIGHTS, values) + np.outer(WEIGHTS, np.full(len(values), values.mean())))
        control = metric @ np.square(test @ vectors).mean(axis=0)
        yield (metric.sum(axis=1) - control) / np.sqrt(np.square(metric).sum(axis=1))


def control_whitening(wells: Coordinates) -> Whitening:
    """Whiten as EFAAR does: standardise by all controls, rotate to their axes, standardise again.

    As in ``tvn_on_controls`` of recursionpharma/EFAAR_benchmarking, except that directions in which the
    controls do not vary are left out instead of being divided by rounding noise. There are such directions
    whenever controls do not outnumber components.
    """
    controls = np.concatenate(wells.controls)
    mean = controls.mean(axis=0)
    controls -= mean
    deviation = np.sqrt(np.einsum("ij,ij->j", controls, controls) / len(controls))
    varies = np.square(deviation) > RELATIVE_RANK * wells.variance.max()
    scale = np.where(varies, deviation, np.inf)
    axes = principal_axes([controls / scale], np.zeros_like(mean), wells=len(controls))
    spread = np.sqrt(axes.variance * (1 - 1 / len(controls)))
    matrix = axes.components.T / np.where(spread > 0, spread, 1) / scale[:, None]
    if len(axes.components) < len(mean):
        logger.warning(
            "%d controls vary in %d of %d components: efaar keeps only these; method tvn would keep all",
            len(controls), len(axes.components), len(mean),
        )  # fmt: skip
    return Whitening(mean, matrix, 0.0)
