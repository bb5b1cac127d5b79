"""One 8-bit range a channel for a whole plate, and the foreground threshold, both from a sample of its fields."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cellmae.tiles.kernels import is_flat, scale_plane
from cellmae.tiles.preparation import Preparation

SAMPLED_FIELDS = 32  # they are decoded twice
SAMPLED_PIXELS = 2**16  # of each plane of a sampled field


@dataclass(frozen=True)
class FieldSample:
    """A thin regular sample of a field's pixels (channels, pixels), and which channels are flat."""

    pixels: np.ndarray
    flat: np.ndarray


def sample_field(planes: Iterable[np.ndarray], preparation: Preparation) -> FieldSample:
    """Sample the prepared planes of a field at the same places in each; flat is what was so before."""
    pixels, flat = [], []
    for channel, plane in enumerate(planes):
        prepared = preparation.apply(plane, channel)
        # An odd step walks through all columns of images whose width is a power of two.
        step = max(1, prepared.size // SAMPLED_PIXELS) | 1
        pixels.append(prepared.ravel()[::step])
        flat.append(is_flat(plane))
    return FieldSample(np.stack(pixels), np.array(flat))


def flat_everywhere(samples: Sequence[FieldSample]) -> np.ndarray:
    """Which channels (channels,) are flat in all sampled fields."""
    return np.all([sample.flat for sample in samples], axis=0)


@dataclass(frozen=True)
class Scaling:
    """How a plate's pixels become 8-bit ones.

    Attributes
    ----------
    low, high
        The values of each channel (channels,) that become 0 and 255; what lies outside is clipped. Equal
        where a channel is constant over the plate: it becomes 0.
    foreground
        Otsu's threshold of the mean over the scaled channels, 0 to 255.
    """

    low: np.ndarray
    high: np.ndarray
    foreground: float

    @classmethod
    def fit(
        cls,
        samples: Sequence[FieldSample],
        *,
        percentiles: tuple[float, float],
        given: Sequence[tuple[float, float] | None] | None = None,
    ) -> "Scaling":
        """Fit ranges and threshold to sampled fields; a channel that is flat in all of them is constant.

        Parameters
        ----------
        samples
            Of fields from all over the plate.
        percentiles
            Of a channel's pixels, which become 0 and 255.
        given
            For each channel its range, or None where the percentiles say it; all of these by default.
        """
        constant = flat_everywhere(samples)
        ranges = []
        for channel, known in enumerate(given or [None] * len(constant)):
            if constant[channel]:
                ranges.append((samples[0].pixels[channel, 0],) * 2)
            else:
                ranges.append(known or _range([sample.pixels[channel] for sample in samples], percentiles))
        low, high = np.array(ranges, dtype=np.float64).T
        scaling = cls(low, high, 0.0)
        means = np.concatenate([scaling.apply(sample.pixels).mean(axis=0) for sample in samples])
        return cls(low, high, otsu_threshold(means))

    @property
    def constant(self) -> np.ndarray:
        """Which channels (channels,) are constant over the plate."""
        return self.high <= self.low

    def ranges(self, channels: Sequence[str]) -> dict[str, list[float]]:
        """The low and the high value of each channel by its name."""
        return {name: [float(low), float(high)] for name, low, high in zip(channels, self.low, self.high, strict=True)}

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Scale pixels (channels, ...) to uint8."""
        scaled = np.empty(pixels.shape, np.uint8)
        for channel, plane in enumerate(pixels):
            self.scale(plane.reshape(1, -1), channel, out=scaled[channel].reshape(1, -1))
        return scaled

    def scale(self, plane: np.ndarray, channel: int, *, out: np.ndarray) -> None:
        """Scale the plane (y, x) of one channel into an array uint8 of the same shape."""
        if self.constant[channel]:
            out[...] = 0
            return
        low, high = float(self.low[channel]), float(self.high[channel])
        if np.result_type(plane.dtype, np.float32) != np.float32:  # single precision does not hold such pixels
            plane, low, high = (plane - low).astype(np.float32), 0.0, high - low
        scale_plane(plane, low, 255.0 / (high - low), out)


def _range(planes: Sequence[np.ndarray], percentiles: tuple[float, float]) -> tuple[float, float]:
    pixels = np.concatenate(planes)
    low, high = np.percentile(pixels, percentiles)
    if high <= low:  # nearly all pixels are equal, as after a background subtraction: keep the few others
        low, high = pixels.min(), pixels.max()
    return float(low), float(high)


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold between two classes of 8-bit values that maximises the variance between them.

    N. Otsu, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and
    Cybernetics 9 (1979), 62-66. Foreground is what lies above the threshold.
    """
    counts = np.bincount(np.rint(values).astype(np.intp), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = sums / below - (sums[-1] - sums) / above
    variance = np.nan_to_num(below * above * distance**2)
    return float(variance.argmax()) + 0.5
