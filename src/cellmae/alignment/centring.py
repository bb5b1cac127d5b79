"""Where the controls of a batch lie and how far they spread, with strength borrowed where they are few.

The mean of n controls misses the centre of a batch by a variance of 1/n. The mean of *all* its wells, less
the offset that all wells have from controls on average, is an estimate with far more wells behind it, whose
error is how much that offset differs between batches. Both errors are estimated from the data, and the two
estimates are averaged with the weights that minimise the error of the result (the best linear unbiased
combination; with errors estimated by moments as in DerSimonian and Laird 1986, Control. Clin. Trials 7).
The spread of a batch is shrunk towards that of all batches by the same reasoning.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.moments import BatchMoments, Moments, constant_features


@dataclass(frozen=True)
class Locations:
    """Centre and scale of the controls of each batch, and what they rest on.

    Attributes
    ----------
    centre, scale
        Shape (batches, features).
    own_weight
        Weight of the batch's own controls in its centre, shape (batches,).
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    own_weight: NDArray[np.float64]

    def joined(self, other: "Locations") -> "Locations":
        """Return the batches of both."""
        names = [field.name for field in fields(self)]
        return Locations(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@dataclass(frozen=True)
class Centring:
    """What batches have in common, fitted once and used for every batch, also for later ones.

    Attributes
    ----------
    unit
        Deviation of all wells within batches, shape (features,); infinite for constant features, which
        therefore contribute zero. All else is measured in it.
    offset
        Mean of all wells less mean of the controls, over batches, shape (features,).
    offset_variance
        Variance of that offset between batches, mean over features.
    control_variance
        Variance of controls within batches, shape (features,).
    ratio_variance
        Variance between batches of their control variance relative to ``control_variance``, beyond what
        sampling explains, mean over features.
    """

    unit: NDArray[np.float64]
    offset: NDArray[np.float64]
    offset_variance: float
    control_variance: NDArray[np.float64]
    ratio_variance: float

    def locate(self, moments: BatchMoments) -> Locations:
        """Return centre and scale of each batch."""
        wells, controls = (group.moved(np.zeros(1), self.unit) for group in (moments.wells, moments.controls))
        weight = self._own_weight(wells.count, controls.count)
        borrowed = wells.mean - self.offset
        centre = borrowed + weight[:, None] * (controls.mean - borrowed)
        scale = self._scale(controls)
        return Locations(centre * np.where(np.isinf(self.unit), 0, self.unit), scale * self.unit, weight)

    def _own_weight(self, wells: NDArray, controls: NDArray) -> NDArray[np.float64]:
        if np.isinf(self.offset_variance):
            return np.where(controls > 0, 1.0, 0.0)
        sampling = _sampling(self.control_variance.mean(), wells, controls)
        total = self.offset_variance + sampling
        weight = np.divide(self.offset_variance, total, out=np.ones(len(wells)), where=total > 0)
        return np.where(controls > 0, weight, 0.0)

    def _scale(self, control: Moments) -> NDArray[np.float64]:
        # Ratios are shrunk as they are, not their logarithms: a feature that hardly varies among the controls
        # of one batch must not be blown up there.
        ratio = _relative(control.variance, self.control_variance)
        total = self.ratio_variance + 2 / np.maximum(control.freedom, 1)
        weight = np.where(control.freedom > 0, self.ratio_variance / total, 0)
        return np.sqrt(1 + weight[:, None] * (ratio - 1))


def fit_centring(moments: BatchMoments) -> Centring:
    """Fit what batches have in common; at least one batch has a control."""
    unit = _unit(moments.wells)
    wells, controls = (group.moved(np.zeros(1), unit) for group in (moments.wells, moments.controls))
    control_variance = controls.pooled_variance() if controls.freedom.any() else wells.pooled_variance()
    offset, offset_variance = _offset(wells, controls, control_variance.mean())
    return Centring(unit, offset, offset_variance, control_variance, _ratio_variance(controls, control_variance))


def _unit(wells: Moments) -> NDArray[np.float64]:
    variance = wells.pooled_variance() if wells.freedom.any() else wells.total_variance()
    deviation = np.sqrt(variance)
    return np.where(constant_features(wells.peak.max(axis=0), deviation), np.inf, deviation)


def _offset(everything: Moments, control: Moments, noise: float) -> tuple[NDArray[np.float64], float]:
    """Return the mean offset of all wells from controls, and its variance between batches beyond sampling.

    The variance is infinite where a single batch has controls: nothing can be borrowed from it.
    """
    seen = control.count > 0
    offsets = (everything.mean - control.mean)[seen]
    counts = control.count[seen]
    mean = counts @ offsets / counts.sum()
    if len(counts) < 2:
        return mean, np.inf
    observed = ((offsets - mean) ** 2).mean() * len(counts) / (len(counts) - 1)
    sampling = _sampling(noise, everything.count[seen], counts).mean()
    return mean, float(max(observed - sampling, 0))


def _sampling(noise: float, wells: NDArray, controls: NDArray) -> NDArray[np.float64]:
    """Return the sampling variance of the difference between the means of all wells and of controls.

    Controls are among all wells, hence 1/n - 1/m of a well's variance rather than 1/n + 1/m.
    """
    return noise * (1 / np.maximum(controls, 1) - 1 / wells)


def _ratio_variance(control: Moments, reference: NDArray) -> float:
    """Return the variance of variance ratios beyond 2/(n - 1), what sampling gives to Gaussian controls."""
    seen = control.freedom > 0
    if np.count_nonzero(seen) < 2:
        return 0.0
    freedom = control.freedom[seen]
    observed = np.square(_relative(control.variance[seen], reference) - 1).mean(axis=1)
    return float(max(np.average(observed - 2 / freedom, weights=freedom), 0))


def _relative(variance: NDArray, reference: NDArray) -> NDArray[np.float64]:
    return np.divide(variance, reference, out=np.ones_like(variance), where=reference > 0)


@dataclass(frozen=True)
class Standardiser:
    """Every batch centred and scaled by all its wells, as EFAAR does before PCA; controls play no part."""

    def locate(self, moments: BatchMoments) -> Locations:
        """Return mean and deviation (divisor n) of each batch; constant features get an infinite scale."""
        wells = moments.wells
        scale = np.sqrt(wells.variance * (wells.freedom / wells.count)[:, None])
        constant = constant_features(wells.peak, scale)
        return Locations(wells.mean, np.where(constant, np.inf, scale), np.zeros(len(scale)))


@dataclass(frozen=True)
class Unmoved:
    """Batches stay where they are."""

    def locate(self, moments: BatchMoments) -> Locations:
        """Return centre zero and scale one for each batch."""
        shape = moments.wells.mean.shape
        return Locations(np.zeros(shape), np.ones(shape), np.zeros(shape[0]))


def fit_standardiser(moments: BatchMoments) -> Standardiser:
    """Return the locator that standardises each batch; there is nothing to fit."""
    return Standardiser()


def fit_unmoved(moments: BatchMoments) -> Unmoved:
    """Return the locator that does nothing."""
    return Unmoved()
