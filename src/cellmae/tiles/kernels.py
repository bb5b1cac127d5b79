"""The loops over pixels, compiled by numba: each passes over a plane once, holds no lock and takes no memory."""

import math

import numba
import numpy as np

SEGMENT = 1024  # pixels in a row whose squared Laplacians (up to 1,020 each) 32 bits hold; twice as quick as 64

compiled = numba.njit(nogil=True, cache=True)


@compiled
def is_flat(plane: np.ndarray) -> bool:
    """Say whether all pixels of a plane (y, x) are equal; a glance is enough for most that are not."""
    for row in plane:
        for pixel in row:
            if pixel != plane[0, 0]:
                return False
    return True


@compiled
def scale_plane(plane: np.ndarray, low: float, factor: float, out: np.ndarray) -> None:
    """Scale a plane (y, x) to uint8: ``(pixel - low) * factor``, rounded half to even and clipped to 0 and 255.

    Single precision: for pixels of 8 and 16 bits, and floats of 32.
    """
    offset, scale = np.float32(low), np.float32(factor)
    zero, top = np.float32(0.0), np.float32(255.0)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            value = np.rint((np.float32(plane[y, x]) - offset) * scale)
            out[y, x] = np.uint8(min(max(value, zero), top))


@compiled
def tile_sums(plane: np.ndarray, size: int, sums: np.ndarray) -> None:
    """Sum up the tiles of a plane (y, x) uint8 whose sides are multiples of ``size``.

    At the border of the plane a pixel stands in for the neighbours that it lacks.

    Parameters
    ----------
    plane, size
        The plane, and the edge of its tiles.
    sums
        Array (5, rows of tiles, columns of tiles) int64, to which is added: the pixels, their squares, the pixels at
        255, the four-neighbour Laplacian, its square.
    """
    height, width = plane.shape
    laplacian = np.empty(width, np.int16)
    for y in range(height):
        above, row, below = plane[max(y - 1, 0)], plane[y], plane[min(y + 1, height - 1)]
        for x in range(1, width - 1):
            around = np.int16(above[x]) + np.int16(below[x]) + np.int16(row[x - 1]) + np.int16(row[x + 1])
            laplacian[x] = around - np.int16(4) * np.int16(row[x])
        for x in (0, width - 1):
            beside = np.int16(row[max(x - 1, 0)]) + np.int16(row[min(x + 1, width - 1)])
            laplacian[x] = np.int16(above[x]) + np.int16(below[x]) + beside - np.int16(4) * np.int16(row[x])
        for start in range(0, width, size):
            place = (y // size, start // size)
            for left in range(start, start + size, SEGMENT):
                right = min(left + SEGMENT, start + size)
                total, squares, full, bend, squared_bend = _sum_up(row[left:right], laplacian[left:right])
                sums[0][place] += total
                sums[1][place] += squares
                sums[2][place] += full
                sums[3][place] += bend
                sums[4][place] += squared_bend


@compiled
def _sum_up(pixels: np.ndarray, laplacian: np.ndarray) -> tuple[np.int32, ...]:
    total = squares = full = bend = squared_bend = np.int32(0)
    for x in range(len(pixels)):
        pixel = np.int32(pixels[x])
        total = np.int32(total + pixel)
        squares = np.int32(squares + pixel * pixel)
        full = np.int32(full + (pixels[x] == 255))
    for x in range(len(laplacian)):
        curve = np.int32(laplacian[x])
        bend = np.int32(bend + curve)
        squared_bend = np.int32(squared_bend + np.int32(curve * curve))
    return total, squares, full, bend, squared_bend


@compiled
def count_bright(field: np.ndarray, size: int, threshold: float, counts: np.ndarray) -> None:
    """Count in each tile of a field (channel, y, x) uint8 the pixels whose sum over channels exceeds a threshold.

    They are added to ``counts`` (rows of tiles, columns of tiles) int64.
    """
    channels, height, width = field.shape
    total = np.empty(width, np.uint16)
    limit = np.uint16(min(math.floor(threshold), 65535))  # sums are whole numbers: above it means above its floor
    for y in range(height):
        total[:] = field[0, y]
        for channel in range(1, channels):
            plane = field[channel, y]
            for x in range(width):
                total[x] += plane[x]
        for column in range(width // size):
            count = np.int64(0)
            for x in range(column * size, (column + 1) * size):
                count += total[x] > limit
            counts[y // size, column] += count
