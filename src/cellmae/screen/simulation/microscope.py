"""What lies between the cells and the file: staining, optics, and the camera, each different on every plate."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cellmae.screen.simulation.cells import CHANNELS

FULL_SCALE = 65535
UNIT = 6000.0  # counts of a structure of brightness 1
CROSSTALK = {("rna", "er"): 0.12, ("er", "rna"): 0.06, ("golgi", "actin"): 0.08}  # (seen in, light of)

EXPERIMENT_STAIN, PLATE_STAIN, WELL_STAIN = 0.25, 0.12, 0.25  # standard deviations of log brightness
WELL_BACKGROUND = 0.35  # standard deviation of log background: washing leaves more dye in one well than in another
WELL_DEFOCUS = 0.2  # pixels of blur that the uneven bottom of the plate adds, standard deviation
EDGE_DIMMING = 0.15  # of log brightness in the outermost wells


@dataclass(frozen=True)
class Optics:
    """How one plate was stained and imaged; arrays have an entry a channel."""

    gain: np.ndarray
    background: np.ndarray  # in units of brightness
    blur: np.ndarray  # standard deviation of the point spread, pixels
    electrons: float  # collected for brightness 1: the fewer, the noisier
    read_noise: float  # in units of brightness
    vignette: np.ndarray  # (3,) centre (y, x) and depth of the fall-off towards the corners
    column_drift: float  # of log brightness, from the first to the last column


def draw_optics(experiment_rng: np.random.Generator, plate_rng: np.random.Generator) -> Optics:
    """Draw the optics of a plate around those of its experiment."""
    channels = len(CHANNELS)
    log_gain = experiment_rng.normal(0, EXPERIMENT_STAIN, channels) + plate_rng.normal(0, PLATE_STAIN, channels)
    background = 0.09 * np.exp(experiment_rng.normal(0, 0.3, channels) + plate_rng.normal(0, 0.15, channels))
    blur = np.clip(experiment_rng.normal(0.85, 0.1) + plate_rng.normal(0, 0.06, channels), 0.55, 1.4)
    return Optics(
        gain=np.exp(log_gain),
        background=background,
        blur=blur,
        electrons=float(450 * np.exp(experiment_rng.normal(0, 0.2) + plate_rng.normal(0, 0.1))),
        read_noise=float(0.012 * np.exp(plate_rng.normal(0, 0.2))),
        vignette=np.array([*plate_rng.normal(0, 0.12, 2), plate_rng.uniform(0.1, 0.3)]),
        column_drift=float(plate_rng.normal(0, 0.12)),
    )


def expose(
    light: np.ndarray, optics: Optics, *, position: tuple[float, float], edge: bool, rng: np.random.Generator
) -> np.ndarray:
    """Turn light into the counts of a camera.

    Parameters
    ----------
    light
        Field of shape (channels, y, x) from :func:`cellmae.screen.simulation.cells.render_field`.
    position
        Row and column of the well, each from 0 (first) to 1 (last).
    edge
        Whether the well lies on the rim of the plate.
    rng
        Source of all chance.

    Returns
    -------
    numpy.ndarray
        uint16 of the same shape.
    """
    stain = np.exp(rng.normal(0, WELL_STAIN, len(CHANNELS)))
    stain *= np.exp(optics.column_drift * (position[1] - 0.5) - EDGE_DIMMING * edge)
    background = optics.background * np.exp(rng.normal(0, WELL_BACKGROUND, len(CHANNELS)))
    blur = np.hypot(optics.blur, rng.normal(0, WELL_DEFOCUS))
    shade = _vignette(light.shape[-1], optics.vignette)
    counts = np.empty(light.shape, np.uint16)
    for channel, name in enumerate(CHANNELS):
        seen = light[channel].copy()
        for (target, source), share in CROSSTALK.items():
            if target == name:
                seen += share * light[CHANNELS.index(source)]
        seen = ndimage.gaussian_filter(seen, blur[channel], mode="nearest", truncate=3)
        seen = (seen * stain[channel] * optics.gain[channel] + background[channel]) * shade
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        seen += noise * np.sqrt(seen / optics.electrons + optics.read_noise**2)
        counts[channel] = np.clip(seen * UNIT + 100, 0, FULL_SCALE)
    return counts


def _vignette(size: int, vignette: np.ndarray) -> np.ndarray:
    y, x = np.meshgrid(*2 * (np.linspace(-1, 1, size, dtype=np.float32),), indexing="ij")
    centre_y, centre_x, depth = vignette.astype(np.float32)
    return 1 - depth * ((y - centre_y) ** 2 + (x - centre_x) ** 2) / 2
