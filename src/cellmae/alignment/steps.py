"""The steps of an alignment on plain arrays, and the methods that are made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.centring import Locations, Standardiser, Unmoved, fit_centring
from cellmae.alignment.coral import fit_no_coral, fit_ridge_coral, fit_shrunk_coral
from cellmae.alignment.linear import Axes, principal_axes
from cellmae.alignment.moments import BatchRows
from cellmae.alignment.whitening import Whitening, control_whitening, no_whitening, shrunk_whitening
from cellmae.logging import logger


class Locator(Protocol):
    """Finds centre and scale of batches: of those in the fit and of later ones."""

    def locate(self, X: NDArray, batches: BatchRows) -> Locations:
        """Return centre and scale of each batch."""


class Coral(Protocol):
    """Finds the matrix that brings a batch's covariance to the common one."""

    def matrices(self, T: NDArray, batches: BatchRows) -> NDArray[np.float64]:
        """Return one matrix a batch."""


@dataclass(frozen=True)
class Method:
    """How the steps of an alignment are fitted.

    Attributes
    ----------
    centred
        Whether principal coordinates are taken about the mean of all wells; else about zero, where the
        locator has put the controls.
    """

    fit_locator: Callable[[NDArray, BatchRows], Locator]
    fit_whitening: Callable[[NDArray, BatchRows], Whitening]
    fit_coral: Callable[[NDArray, BatchRows], Coral]
    centred: bool = True
    needs_controls: bool = True


def fit_standardiser(X: NDArray, batches: BatchRows) -> Standardiser:
    """Return the locator that standardises each batch; there is nothing to fit."""
    return Standardiser()


def fit_unmoved(X: NDArray, batches: BatchRows) -> Unmoved:
    """Return the locator that does nothing."""
    return Unmoved()


METHODS: Mapping[str, Method] = {
    "tvn": Method(fit_centring, shrunk_whitening, fit_shrunk_coral, centred=False),
    "efaar": Method(fit_standardiser, control_whitening, fit_ridge_coral),
    "none": Method(fit_unmoved, no_whitening, fit_no_coral, needs_controls=False),
}
"""``tvn`` centres and scales each batch on its controls, whitens, and evens out covariances, in every step with
strength borrowed from all wells as far as controls are few. ``efaar`` standardises the wells of each batch,
takes a PCA, and goes on as ``tvn_on_controls`` of EFAAR_benchmarking. ``none`` is a PCA."""


@dataclass(frozen=True)
class BatchTransforms:
    """What was found for each batch; a later well of the same batch is treated alike.

    Attributes
    ----------
    names
        Shape (batches,).
    centre, scale
        Shape (batches, features).
    matrix
        Shape (batches, dimensions, dimensions).
    own_weight
        Weight of the batch's own controls in its centre, shape (batches,).
    """

    names: NDArray[np.str_]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    matrix: NDArray[np.float64]
    own_weight: NDArray[np.float64]

    def joined(self, other: "BatchTransforms") -> "BatchTransforms":
        """Return the batches of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return BatchTransforms(*(np.concatenate(pair) for pair in pairs))

    def of(self, names: NDArray[np.str_]) -> "BatchTransforms":
        """Return those of the batches ``names``, in that order."""
        row = {name: number for number, name in enumerate(self.names)}
        order = [row[name] for name in names]
        return BatchTransforms(*(array[order] for array in vars(self).values()))


@dataclass(frozen=True)
class Steps:
    """Locate batches, project on principal axes, whiten, even out covariances."""

    locator: Locator
    axes: Axes
    whitening: Whitening
    coral: Coral

    def estimate(self, X: NDArray, batches: BatchRows) -> BatchTransforms:
        """Return centre, scale and matrix of batches."""
        places = self.locator.locate(X, batches)
        coordinates = self.axes.project(moved(X, batches, places.centre, places.scale))
        matrix = self.coral.matrices(self.whitening.apply(coordinates), batches)
        return BatchTransforms(batches.names, places.centre, places.scale, matrix, places.own_weight)

    def transform(
        self, X: NDArray, batches: BatchRows, transforms: BatchTransforms
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return principal and aligned coordinates of wells.

        Parameters
        ----------
        X
            Embeddings, shape (wells, features).
        batches
            Rows of the batches, all of which are among ``transforms``.

        Returns
        -------
        tuple
            Shapes (wells, components) and (wells, dimensions).
        """
        own = transforms.of(batches.names)
        coordinates = self.axes.project(moved(X, batches, own.centre, own.scale))
        aligned = self.whitening.apply(coordinates)
        for rows, matrix in zip(batches.wells, own.matrix, strict=True):
            aligned[rows] = aligned[rows] @ matrix
        return coordinates, aligned


def fit_steps(X: NDArray, batches: BatchRows, method: Method, *, components: int) -> Steps:
    """Fit the steps one after the other, each on what the ones before it give."""
    locator = method.fit_locator(X, batches)
    places = locator.locate(X, batches)
    Z = moved(X, batches, places.centre, places.scale)
    axes = principal_axes(Z, components, centred=method.centred)
    if len(axes.components) < components:
        logger.warning(
            "pca: %d components asked for, %d wells of %d features have %d",
            components, *X.shape, len(axes.components),
        )  # fmt: skip
    coordinates = axes.project(Z)
    whitening = method.fit_whitening(coordinates, batches)
    return Steps(locator, axes, whitening, method.fit_coral(whitening.apply(coordinates), batches))


def moved(X: NDArray, batches: BatchRows, centre: NDArray, scale: NDArray) -> NDArray[np.float64]:
    """Return wells less the centre of their batch, divided by its scale; zeros for wells of no batch."""
    Z = np.zeros(X.shape)
    for rows, own_centre, own_scale in zip(batches.wells, centre, scale, strict=True):
        Z[rows] = (X[rows] - own_centre) / own_scale
    return Z
