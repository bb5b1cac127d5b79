"""What chance decides in a step, as a pure function of (seed, step, place in the batch).

Counter-based numbers (Philox) need no state: training that is interrupted goes on with the same masks.
"""

import numpy as np
import torch

MASKS, ORIENTATIONS, PATHS = range(3)  # streams that share nothing
WORD = 2**64


def masking_noise(seed: int, step: int, *, batch_size: int, tokens: int) -> np.ndarray:
    """Return uniform noise (batch, tokens) float32, by which patches are masked."""
    return _stream(seed, step, MASKS).random((batch_size, tokens), dtype=np.float32)


def orientations(seed: int, step: int, *, batch_size: int) -> np.ndarray:
    """Return for each crop whether it is flipped along y, flipped along x, and transposed: (batch, 3) bool.

    The eight combinations are the flips and quarter turns of a square.
    """
    return _stream(seed, step, ORIENTATIONS).random((batch_size, 3)) < 0.5


def path_draws(seed: int, step: int, *, batch_size: int, paths: int) -> np.ndarray:
    """Return uniform numbers (batch, paths) float32, by which residual branches are dropped."""
    return _stream(seed, step, PATHS).random((batch_size, paths), dtype=np.float32)


def _stream(seed: int, step: int, purpose: int) -> np.random.Generator:
    # The counter's first word counts; its last one keeps the streams apart.
    return np.random.Generator(np.random.Philox(key=[seed % WORD, step], counter=[0, 0, 0, purpose]))


def orient(crops: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
    """Flip and transpose crops (batch, channels, size, size), each as its row of :func:`orientations` says."""
    flip_y, flip_x, transpose = (decision.view(-1, 1, 1, 1) for decision in orientation.unbind(1))
    crops = torch.where(flip_y, crops.flip(2), crops)
    crops = torch.where(flip_x, crops.flip(3), crops)
    return torch.where(transpose, crops.transpose(2, 3), crops)
