"""PCA-CS: each batch standardised by its own controls, on axes that were fitted on all controls.

"PCA-CS" of the RxRx3-core benchmark, Kraus et al. 2025, *RxRx3-core: Benchmarking drug-target interactions in
High-Content Microscopy* (arXiv 2503.20158); ``centerscale_on_controls`` of recursionpharma/EFAAR_benchmarking.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.linear import RELATIVE_RANK, AffineMaps
from cellmae.alignment.moments import within_covariance
from cellmae.logging import logger

FEWEST_CONTROLS = 5
"""Below, a deviation is too uncertain to divide by: of three controls, one component in a thousand has a deviation
thirty times too small."""


@dataclass(frozen=True)
class ControlStandardiser:
    """Mean and deviation of the controls of each batch, borrowed where they are few.

    Attributes
    ----------
    mean
        Of all controls, shape (dimensions,): for batches without any.
    deviation
        Of controls within batches, shape (dimensions,): for batches with fewer than :data:`FEWEST_CONTROLS`, and
        where those of a batch do not vary.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def maps(self, controls: Sequence[NDArray]) -> AffineMaps:
        """Return the map of each batch; components in which no control varies get the scale zero."""
        shift = np.stack([own.mean(axis=0) if len(own) else self.mean for own in controls])
        deviation = np.stack([self._deviation(own) for own in controls])
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        dimensions = len(self.mean)
        return AffineMaps(shift, scale, np.zeros(len(controls), dtype=int), np.empty((0, dimensions)), np.empty(0))

    def _deviation(self, own: NDArray) -> NDArray[np.float64]:
        if len(own) < FEWEST_CONTROLS:
            return self.deviation
        deviation = own.std(axis=0)
        varies = (self.deviation > 0) & (np.square(deviation) > RELATIVE_RANK * np.square(self.deviation))
        return np.where(varies, deviation, self.deviation)


def fit_control_standardiser(controls: Sequence[NDArray]) -> ControlStandardiser:
    """Fit what batches with few controls borrow."""
    everything = np.concatenate(controls)
    total = everything.var(axis=0)
    covariance, freedom = within_covariance(controls)
    variance = np.diagonal(covariance) if freedom else total
    varies = variance > RELATIVE_RANK * total.max()
    if not varies.all():
        logger.warning(
            "controls of one batch do not differ in %d of %d components, which are left out",
            np.count_nonzero(~varies), len(varies),
        )  # fmt: skip
    return ControlStandardiser(everything.mean(axis=0), np.sqrt(np.where(varies, variance, 0)))
