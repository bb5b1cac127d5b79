"""The steps of an alignment on plain arrays, and the methods that are made of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.centring import Locations, fit_centring, fit_standardiser, fit_unmoved
from cellmae.alignment.chunks import BatchRows, Chunks, Rows, walk
from cellmae.alignment.coral import fit_no_coral, fit_ridge_coral, fit_shrunk_coral
from cellmae.alignment.linear import AffineMaps, Axes, no_axes, principal_axes
from cellmae.alignment.moments import BatchMoments, Moments, batch_moments, constant_features
from cellmae.alignment.standardising import FEWEST_CONTROLS, fit_control_standardiser
from cellmae.alignment.whitening import Coordinates, Whitening, control_whitening, no_whitening, shrunk_whitening
from cellmae.logging import logger
from cellmae.screen.listing import listing


class Locator(Protocol):
    """Finds centre and scale of batches: of those in the fit and of later ones."""

    def locate(self, moments: BatchMoments) -> Locations:
        """Return centre and scale of each batch."""


class Corrector(Protocol):
    """Finds what is done to each batch last, from its whitened controls."""

    def maps(self, controls: Sequence[NDArray]) -> AffineMaps:
        """Return the map of each batch."""


@dataclass(frozen=True)
class Method:
    """How the steps of an alignment are fitted.

    Attributes
    ----------
    centred
        Whether principal coordinates are taken about the mean of the wells; else about zero, where the
        locator has put the controls.
    axes_of_controls
        Whether the principal axes are those of the controls; else those of all wells.
    borrows
        Whether whitening looks at all wells; else only at controls.
    fewest_controls
        Batches with fewer borrow from the others.
    controls_needed
        In all batches together.
    """

    fit_locator: Callable[[BatchMoments], Locator]
    fit_whitening: Callable[[Coordinates], Whitening]
    fit_corrector: Callable[[Sequence[NDArray]], Corrector]
    centred: bool = True
    axes_of_controls: bool = False
    borrows: bool = False
    fewest_controls: int = 2
    controls_needed: int = 2


METHODS: Mapping[str, Method] = {
    "tvn": Method(fit_centring, shrunk_whitening, fit_shrunk_coral, centred=False, borrows=True, controls_needed=1),
    "efaar": Method(fit_standardiser, control_whitening, fit_ridge_coral),
    "pca-cs": Method(
        fit_unmoved, no_whitening, fit_control_standardiser, axes_of_controls=True, fewest_controls=FEWEST_CONTROLS
    ),
    "centre": Method(fit_centring, no_whitening, fit_no_coral, centred=False, controls_needed=1),
    "none": Method(fit_unmoved, no_whitening, fit_no_coral, fewest_controls=0, controls_needed=0),
}
"""``tvn`` centres and scales each batch on its controls, whitens, and evens out covariances, in every step with
strength borrowed from all wells as far as controls are few. ``efaar`` standardises the wells of each batch,
takes a PCA, and goes on as ``tvn_on_controls`` of EFAAR_benchmarking. ``pca-cs`` takes a PCA of the controls and
standardises each batch by its controls. ``centre`` is the first step of ``tvn`` alone, and a PCA. ``none`` is a
PCA."""


@dataclass(frozen=True)
class BatchTransforms:
    """What was found for each batch; a later well of the same batch is treated alike.

    Attributes
    ----------
    names
        Sorted or not, shape (batches,).
    places
        Centre and scale before projection.
    maps
        What is done after whitening.
    """

    names: NDArray[np.str_]
    places: Locations
    maps: AffineMaps

    def joined(self, other: "BatchTransforms") -> "BatchTransforms":
        """Return the batches of both."""
        names = np.concatenate([self.names, other.names])
        return BatchTransforms(names, self.places.joined(other.places), self.maps.joined(other.maps))

    def numbers(self, names: NDArray[np.str_]) -> NDArray[np.intp]:
        """Return where the batches ``names`` stand here."""
        number = {name: place for place, name in enumerate(self.names)}
        return np.array([number[name] for name in names], dtype=np.intp)


@dataclass(frozen=True)
class Steps:
    """Locate batches, project on principal axes, whiten, correct each batch."""

    locator: Locator
    axes: Axes
    whitening: Whitening
    corrector: Corrector

    def estimate(self, chunks: Chunks, batches: BatchRows) -> BatchTransforms:
        """Return the transforms of batches that were not in the fit."""
        moments = batch_moments(chunks, batches)
        _report_still(moments.wells, batches.names)
        places = self.locator.locate(moments)
        located = Located(chunks, batches, places)
        controls = _coordinates(located, self.axes).whitened(self.whitening)
        return BatchTransforms(batches.names, places, self.corrector.maps(controls))

    def transform(
        self, chunks: Chunks, batches: BatchRows, transforms: BatchTransforms
    ) -> Iterator[tuple[Rows, NDArray, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield rows, vectors, principal and aligned coordinates of the wells of each chunk.

        Parameters
        ----------
        chunks
            Embeddings, shape (wells, features).
        batches
            Those of the wells, all of which are among ``transforms``.
        """
        numbers = transforms.numbers(batches.names)
        for rows, X, own in walk(chunks, batches):
            groups = [(numbers[batch], wells) for batch, wells in own.groups()]
            coordinates = self.axes.project(moved(X, groups, transforms.places))
            aligned = self.whitening.apply(coordinates)
            for number, wells in groups:
                aligned[wells] = transforms.maps.apply(number, aligned[wells])
            yield rows, X, coordinates, aligned


@dataclass(frozen=True)
class Located:
    """Wells less the centre of their batch, divided by its scale; walked through as often as needed."""

    chunks: Chunks
    batches: BatchRows
    places: Locations

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], BatchRows]]:
        """Yield the located wells of each chunk, shape (some, features), and their batches."""
        for _, X, own in walk(self.chunks, self.batches):
            yield moved(X, own.groups(), self.places), own


def fit_steps(chunks: Chunks, batches: BatchRows, method: Method, *, components: int) -> tuple[Steps, BatchTransforms]:
    """Fit the steps one after the other, each on what the ones before it give.

    Vectors are read three times: for their moments by batch, for the covariance of located wells, and for the
    principal coordinates of controls, which stay in memory.

    Returns
    -------
    tuple
        What holds for all batches, and for each of them.
    """
    moments = batch_moments(chunks, batches)
    _report_constant(moments.wells)
    _report_still(moments.wells, batches.names)
    locator = method.fit_locator(moments)
    places = locator.locate(moments)
    axes = _fit_axes(Located(chunks, batches, places), moments, method, components)
    wells = _coordinates(Located(chunks, batches, places), axes, moments.wells if method.borrows else None)
    whitening = method.fit_whitening(wells)
    controls = wells.whitened(whitening)
    corrector = method.fit_corrector(controls)
    return (
        Steps(locator, axes, whitening, corrector),
        BatchTransforms(batches.names, places, corrector.maps(controls)),
    )


def _fit_axes(located: Located, moments: BatchMoments, method: Method, components: int) -> Axes:
    group = moments.wells
    if method.axes_of_controls:
        group = moments.controls
        located = replace(located, batches=located.batches.controls_only())
    group = group.moved(located.places.centre, located.places.scale)
    mean, wells = group.total_mean(), int(group.count.sum())
    if constant_features(group.peak.max(axis=0), np.sqrt(group.total_variance())).all():
        logger.warning("pca: the %d wells that it is fitted on are all alike; everything is aligned to zero", wells)
        return no_axes(mean)
    blocks = (Z for Z, _ in located)
    axes = principal_axes(blocks, mean, wells=wells, components=components, centred=method.centred)
    if len(axes.components) < components:
        logger.warning(
            "pca: %d components asked for, %d %s of %d features have %d", components, wells,
            "controls" if method.axes_of_controls else "wells", len(mean), len(axes.components),
        )  # fmt: skip
    return axes


def _coordinates(located: Located, axes: Axes, wells: Moments | None = None) -> Coordinates:
    """Project controls and, where the moments of all ``wells`` are given, all wells for their covariance."""
    components = len(axes.components)
    controls = [[np.empty((0, components))] for _ in located.batches.names]
    scatter = np.zeros((components, components))
    if wells is None:
        located = replace(located, batches=located.batches.controls_only())
    else:
        means = axes.project(wells.moved(located.places.centre, located.places.scale).mean)
    for Z, own in located:
        Y = axes.project(Z)
        for batch, rows in own.groups():
            controls[batch].append(Y[rows][own.is_control[rows]])
        if wells is not None:
            Y -= means[own.codes]
            scatter += Y.T @ Y
    freedom = 0 if wells is None else int(wells.freedom.sum())
    return Coordinates([np.concatenate(parts) for parts in controls], axes.variance, scatter / max(freedom, 1), freedom)


def _report_constant(wells: Moments) -> None:
    constant = constant_features(wells.peak.max(axis=0), np.sqrt(wells.total_variance()))
    if constant.any():
        logger.warning("%d of %d features do not vary and contribute nothing", constant.sum(), len(constant))


def _report_still(wells: Moments, batches: NDArray[np.str_]) -> None:
    still = (wells.count > 1) & constant_features(wells.peak, np.sqrt(wells.variance)).all(axis=1)
    if still.any():
        logger.warning(
            "the wells of %d of %d batches do not differ from each other: %s",
            still.sum(), len(still), listing(batches[still]),
        )  # fmt: skip


def moved(X: NDArray, groups: Iterable[tuple[int, Rows]], places: Locations) -> NDArray[np.float64]:
    """Return wells less the centre of their batch, divided by its scale."""
    Z = np.empty(X.shape)
    for batch, rows in groups:
        Z[rows] = (X[rows] - places.centre[batch]) / places.scale[batch]
    return Z
