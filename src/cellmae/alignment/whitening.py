"""Affine maps that give controls unit variance in every direction: the core of TVN.

Typical variation normalisation: Ando, McLean and Berndl 2017, *Improving Phenotypic Measurements in
High-Content Imaging Screens*, bioRxiv 161422.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import inverse_root, principal_axes, shrink, shrinkage_weight
from cellmae.alignment.moments import BatchRows, within_covariance
from cellmae.errors import DataError
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
        return (Y - self.shift) @ self.matrix


def no_whitening(Y: NDArray, batches: BatchRows) -> Whitening:
    """Return the identity."""
    return Whitening(np.zeros(Y.shape[1]), np.eye(Y.shape[1]), 0.0)


def shrunk_whitening(Y: NDArray, batches: BatchRows) -> Whitening:
    """Whiten by the covariance of controls within batches, shrunk towards that of all wells.

    In coordinates that whiten all wells, the covariance of the controls is blended with a multiple of the
    identity, which there *is* the covariance of all wells; :func:`borrowed_weight` chooses the weight.

    Parameters
    ----------
    Y
        Shape (wells, components), the controls of each batch around zero.
    batches
        Rows of the batches.
    """
    covariance, freedom = within_covariance(Y, batches.wells)
    by_all = inverse_root(shrink(covariance, shrinkage_weight(covariance, freedom)))
    covariance, _ = within_covariance(Y @ by_all, batches.controls)
    borrowed = borrowed_weight(Y @ by_all, batches)
    by_controls = inverse_root(shrink(covariance, borrowed)) if covariance.any() else np.eye(len(covariance))
    return Whitening(np.zeros(Y.shape[1]), by_all @ by_controls, borrowed)


def borrowed_weight(Z: NDArray, batches: BatchRows) -> float:
    """Choose on held-out controls how much of all wells' covariance to blend with that of the controls.

    Let the covariance of all wells be the identity and that of controls C, so that the effects of
    perturbations have the covariance I - C. With the metric M, the inner product of two wells of one
    perturbation is larger than that of unrelated wells by tr(M (I - C)) in expectation, and unrelated ones
    scatter by |M|, the root of tr(M^2). The weight maximises the ratio of the two, where M is the inverse of
    the blended covariance of some controls and tr(M C) the mean squared length of the others.

    Parameters
    ----------
    Z
        Wells in coordinates that whiten all of them, shape (wells, components).
    batches
        Rows of the batches.

    Returns
    -------
    float
        1, all wells alone, where controls are too few to hold any out.
    """
    ratios = list(_held_out_ratios(Z, batches))
    return float(WEIGHTS[np.mean(ratios, axis=0).argmax()]) if ratios else 1.0


def _held_out_ratios(Z: NDArray, batches: BatchRows) -> Iterator[NDArray[np.float64]]:
    """Yield for each fold of controls the ratio of :func:`borrowed_weight`, shape (weights,)."""
    numbers = np.cumsum([0, *(len(rows) for rows in batches.controls)])
    for fold in range(FOLDS):
        held_out = [
            (np.arange(len(rows)) + start) % FOLDS == fold
            for rows, start in zip(batches.controls, numbers[:-1], strict=True)
        ]
        kept = [rows[~held] for rows, held in zip(batches.controls, held_out, strict=True)]
        covariance, freedom = within_covariance(Z, kept)
        tests = [
            (Z[rows[held]] - Z[others].mean(axis=0)) / np.sqrt(1 + 1 / len(others))
            for rows, held, others in zip(batches.controls, held_out, kept, strict=True)
            if len(others)
        ]
        test = np.concatenate([np.empty((0, Z.shape[1])), *tests])
        if not (freedom and len(test) and covariance.any()):
            continue
        values, vectors = np.linalg.eigh(covariance)
        values = np.maximum(values, 0)
        metric = 1 / (np.outer(1 - WEIGHTS, values) + np.outer(WEIGHTS, np.full(len(values), values.mean())))
        control = metric @ np.square(test @ vectors).mean(axis=0)
        yield (metric.sum(axis=1) - control) / np.sqrt(np.square(metric).sum(axis=1))


def control_whitening(Y: NDArray, batches: BatchRows) -> Whitening:
    """Whiten as EFAAR does: standardise by all controls, rotate to their axes, standardise again.

    As in ``tvn_on_controls`` of recursionpharma/EFAAR_benchmarking, except that directions in which the
    controls do not vary are left out instead of being divided by rounding noise. There are such directions
    whenever controls do not outnumber components.
    """
    control = Y[batches.all_controls]
    if len(control) < 2:
        raise DataError(
            f"method efaar whitens on negative controls and found {len(control)} well: "
            "annotate more controls, or use method tvn, which borrows from all wells"
        )
    mean, deviation = control.mean(axis=0), control.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    axes = principal_axes((control - mean) / scale)
    spread = axes.project((control - mean) / scale).std(axis=0)
    matrix = axes.components.T / np.where(spread > 0, spread, 1) / scale[:, None]
    if len(axes.components) < Y.shape[1]:
        logger.warning(
            "%d controls vary in %d of %d components: efaar keeps only these; method tvn would keep all",
            len(control), len(axes.components), Y.shape[1],
        )  # fmt: skip
    return Whitening(mean, matrix, 0.0)
