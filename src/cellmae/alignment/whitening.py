"""Affine maps that give controls unit variance in every direction: the core of TVN.

Typical variation normalisation: Ando, McLean and Berndl 2017, *Improving Phenotypic Measurements in
High-Content Imaging Screens*, bioRxiv 161422.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import inverse_root, principal_axes, shrink, shrinkage_weight
from cellmae.alignment.moments import BatchRows, within_covariance
from cellmae.errors import DataError
from cellmae.logging import logger


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

    In coordinates that whiten all wells, the covariance of the controls is shrunk towards a multiple of the
    identity, which there *is* the covariance of all wells. The weight is the one that minimises the expected
    error of the covariance (:func:`~cellmae.alignment.linear.shrinkage_weight`): near 1 where controls are
    few for the number of dimensions or vary as all wells do, towards 0 where many controls say otherwise.

    Parameters
    ----------
    Y
        Shape (wells, components), the controls of each batch around zero.
    batches
        Rows of the batches.
    """
    covariance, freedom = within_covariance(Y, batches.wells)
    by_all = inverse_root(shrink(covariance, shrinkage_weight(covariance, freedom)))
    covariance, freedom = within_covariance(Y @ by_all, batches.controls)
    borrowed = shrinkage_weight(covariance, freedom)
    by_controls = inverse_root(shrink(covariance, borrowed)) if covariance.any() else np.eye(len(covariance))
    return Whitening(np.zeros(Y.shape[1]), by_all @ by_controls, borrowed)


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
