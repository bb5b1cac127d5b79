"""A baseline that knows only how much of a crop is bright, and how many bright objects it shows."""

import numpy as np
import torch
from scipy import ndimage
from torch import nn

LEVELS = 256  # of a pixel
SPECK_PIXELS = 16  # a bright object of fewer pixels is not counted


class ForegroundEncoder(nn.Module):
    """Share of bright pixels and number of bright objects, a channel at a time.

    What beats it knows more of a well than how many cells there are. Bright is what lies above Otsu's threshold of
    the channel of the crop; objects are four-connected, and those of fewer than ``SPECK_PIXELS`` pixels do not count.

    Parameters
    ----------
    channels
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = 2 * channels

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Describe crops (batch, channels, y, x) of 0 to 255 by (batch, dim) float32.

        The shares of all channels, 0 to 1, come before the numbers of objects; both are 0 in a flat channel. Objects
        are counted on the CPU.
        """
        pixels = crops.round().long()
        bright = pixels > otsu_thresholds(pixels)[:, :, None, None]
        shares = bright.float().mean(dim=(2, 3))
        counts = np.array([[count_objects(plane) for plane in crop] for crop in bright.cpu().numpy()], np.float32)
        return torch.cat([shares, torch.from_numpy(counts).to(shares.device)], dim=1)


def otsu_thresholds(pixels: torch.Tensor) -> torch.Tensor:
    """Return Otsu's threshold of each channel of each crop.

    It maximises the variance between the pixels above it and the others (N. Otsu, A threshold selection method from
    gray-level histograms, IEEE Transactions on Systems, Man, and Cybernetics 9 (1979), 62-66).

    Parameters
    ----------
    pixels
        (batch, channels, y, x), whole numbers of 0 to 255, int64.

    Returns
    -------
    (batch, channels) int64; the lowest of equally good ones, and 255, above which nothing lies, where all pixels are
    equal.
    """
    planes = pixels.flatten(0, 1).flatten(1)
    rows = torch.arange(len(planes), device=pixels.device).unsqueeze(1)
    counts = torch.bincount((planes + LEVELS * rows).flatten(), minlength=LEVELS * len(planes)).view(-1, LEVELS)
    below = counts.cumsum(dim=1)
    sums = (counts * torch.arange(LEVELS, device=pixels.device)).cumsum(dim=1)
    above, sums_above = below[:, -1:] - below, sums[:, -1:] - sums
    # Double precision: neighbouring thresholds may differ in the eighth digit.
    distance = sums.double() / below.clamp(min=1) - sums_above.double() / above.clamp(min=1)
    variance = below.double() * above * distance.square()  # 0 where a side is empty
    best = torch.where(variance.amax(dim=1) > 0, variance.argmax(dim=1), LEVELS - 1)
    return best.view(pixels.shape[:2])


def count_objects(bright: np.ndarray) -> int:
    """Count the four-connected objects of at least ``SPECK_PIXELS`` pixels in a plane (y, x) of booleans."""
    labels, _ = ndimage.label(bright)
    return int((np.bincount(labels.ravel())[1:] >= SPECK_PIXELS).sum())
