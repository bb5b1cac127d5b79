"""Draws a field of Cell Painting: cells with six stained structures, as an ideal microscope would see them."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from cellmae.screen.simulation.phenotypes import PHENOTYPES

CHANNELS = ("nuclei", "er", "actin", "rna", "mitochondria", "golgi")

AREA_PER_CELL = 1500.0  # pixels squared
CELL_RADIUS = 21.0  # pixels
NUCLEUS_RADIUS = 8.2  # pixels
CELL_SPREAD = 0.45  # between cells of a well, in units of a phenotype
STAIN_SPREAD = 0.35  # of log brightness between cells of a well: a coefficient of variation as in real stainings
LOBES = (2, 3, 5)  # waves around an outline


@dataclass(frozen=True)
class Cells:
    """The cells of a field; every array has an entry a cell, lengths are in pixels."""

    y: np.ndarray
    x: np.ndarray
    angle: np.ndarray
    radius: np.ndarray
    elongation: np.ndarray
    waves: np.ndarray  # (cells, len(LOBES), 2) amplitude and phase of the cell's outline
    nucleus_radius: np.ndarray
    nucleus_elongation: np.ndarray
    nucleus_angle: np.ndarray
    nucleus_waves: np.ndarray
    stain: np.ndarray  # (cells, channels) brightness of this cell
    phenotype: dict[str, np.ndarray]


@dataclass(frozen=True)
class Geometry:
    """For every pixel of a field (y, x): whose it is and where in that cell it lies."""

    owner: np.ndarray  # index of the cell, -1 outside
    rho: np.ndarray  # distance from the centre of the cell, 1 at its edge
    nucleus: np.ndarray  # distance from the centre of the nucleus, 1 at its edge
    phase: np.ndarray  # angle around the centre of the cell


def render_field(phenotype: np.ndarray, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one field.

    Parameters
    ----------
    phenotype
        Phenotype of the well, in the order of :data:`PHENOTYPES`; zero is the wild type.
    size
        Height and width in pixels.
    rng
        Source of all chance.

    Returns
    -------
    numpy.ndarray
        Light of shape (channels, size, size), float32; a typical structure has brightness 1, background 0.
    """
    well = dict(zip(PHENOTYPES, phenotype, strict=True))
    cells = _scatter_cells(well, size, rng)
    geometry = _lay_out(cells, size)
    inside = geometry.owner >= 0
    of_cell = _Lookup(cells, geometry.owner)
    texture = _Textures(size, rng)

    edge = np.clip((1 - geometry.rho) * 6, 0, 1)
    body = np.sqrt(np.clip(1 - geometry.rho**2, 0, 1)) * inside
    nucleus = _smooth_step((1 - geometry.nucleus) * 5)

    light = np.empty((len(CHANNELS), size, size), np.float32)
    nucleoli = _nucleoli(cells, size, rng) * nucleus
    light[0] = _draw_chromatin(nucleus, nucleoli, of_cell, texture)
    light[1] = _draw_er(geometry, edge, nucleus, well, of_cell, texture)
    light[2] = _draw_actin(geometry, edge, cells, well, of_cell, texture)
    light[3] = 0.9 * nucleoli + 0.22 * nucleus + 0.45 * edge * body * (1 - nucleus) * (0.8 + 0.15 * texture(3.0))
    light[4] = _draw_mitochondria(geometry, edge, nucleus, well, of_cell, texture)
    light[5] = _draw_golgi(geometry, edge, nucleus, cells, size, rng)
    for channel in range(len(CHANNELS)):
        light[channel] *= of_cell.values(cells.stain[:, channel])
    return np.clip(light, 0, None)


class _Lookup:
    """Spreads a value a cell over the pixels of the cells."""

    def __init__(self, cells: Cells, owner: np.ndarray) -> None:
        self._cells, self._owner = cells, owner

    def values(self, per_cell: np.ndarray) -> np.ndarray:
        return np.append(per_cell, 0).astype(np.float32)[self._owner]

    def __getitem__(self, phenotype: str) -> np.ndarray:
        return self.values(self._cells.phenotype[phenotype])


class _Textures:
    """Random textures of unit variance and a given grain."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._rng, self._size = rng, size
        frequency = fft.fftfreq(size)[:, None] ** 2 + fft.rfftfreq(size)[None] ** 2
        self._frequency = np.sqrt(frequency).astype(np.float32)

    def __call__(self, grain: float) -> np.ndarray:
        """Return a field of band-passed noise, its waves about ``2 * grain`` pixels long."""
        noise = self._rng.standard_normal((self._size, self._size), dtype=np.float32)
        octaves = np.log2(np.maximum(self._frequency, 1e-4) * 2 * grain)
        field = fft.irfft2(fft.rfft2(noise) * np.exp(-2 * octaves**2), s=noise.shape)
        return field / field.std()


def _scatter_cells(well: dict[str, float], size: int, rng: np.random.Generator) -> Cells:
    count = max(3, round(size**2 / AREA_PER_CELL * np.exp(0.22 * well["cell_count"] + rng.normal(0, 0.12))))
    phenotype = {name: value + rng.normal(0, CELL_SPREAD, count) for name, value in well.items()}
    radius = CELL_RADIUS * np.exp(0.13 * phenotype["cell_size"])
    y, x = _spaced_points(
        count, size, 1.25 * CELL_RADIUS * np.exp(0.06 * well["cell_size"] - 0.11 * well["cell_count"]), rng
    )
    cycle = rng.choice([1.0, 1.12, 1.25], size=count, p=[0.6, 0.2, 0.2])  # G1, S, G2
    stain = np.exp(rng.normal(0, STAIN_SPREAD, (count, len(CHANNELS))))
    stain[:, CHANNELS.index("nuclei")] *= cycle
    return Cells(
        y=y,
        x=x,
        angle=rng.uniform(0, np.pi, count),
        radius=radius,
        elongation=np.exp(0.25 + 0.28 * np.clip(phenotype["cell_elongation"], -1.2, None)),
        waves=_outline_waves(0.07 * np.exp(0.35 * phenotype["actin_ruffles"]), rng),
        nucleus_radius=NUCLEUS_RADIUS * np.sqrt(cycle) * np.exp(0.12 * phenotype["nucleus_size"]),
        nucleus_elongation=np.exp(0.18 + 0.2 * np.clip(phenotype["nucleus_elongation"], -1.2, None)),
        nucleus_angle=rng.uniform(0, np.pi, count),
        nucleus_waves=_outline_waves(0.035 * np.exp(0.8 * np.clip(phenotype["nucleus_lobes"], None, 2)), rng),
        stain=stain,
        phenotype=phenotype,
    )


def _spaced_points(count: int, size: int, distance: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Throw points on a field with a margin, each far from the others where there is room."""
    points = rng.uniform(-0.04 * size, 1.04 * size, (1, 2))
    while len(points) < count:
        candidates = rng.uniform(-0.04 * size, 1.04 * size, (12, 2))
        gaps = np.linalg.norm(candidates[:, None] - points[None], axis=2).min(axis=1)
        far = np.flatnonzero(gaps > distance)
        points = np.vstack([points, candidates[far[0] if len(far) else gaps.argmax()]])
    return points[:, 0], points[:, 1]


def _outline_waves(amplitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shape = (len(amplitude), len(LOBES))
    amplitudes = amplitude[:, None] * np.abs(rng.normal(1, 0.4, shape))
    return np.stack([amplitudes, rng.uniform(0, 2 * np.pi, shape)], axis=2)


def _lay_out(cells: Cells, size: int) -> Geometry:
    """Give every pixel to the cell in which it lies deepest."""
    owner = np.full((size, size), -1)
    rho = np.full((size, size), 9.0, np.float32)
    nucleus = np.full((size, size), 9.0, np.float32)
    phase = np.zeros((size, size), np.float32)
    for cell in range(len(cells.y)):
        reach = int(cells.radius[cell] * cells.elongation[cell] ** 0.5 * 1.4) + 2
        window = _window(cells.y[cell], cells.x[cell], reach, size)
        if window is None:
            continue
        rows, columns, dy, dx = window
        angle = np.arctan2(dy, dx)
        depth = _ellipse(
            dy, dx, angle, cells.radius[cell], cells.elongation[cell], cells.angle[cell], cells.waves[cell]
        )
        mine = (depth < rho[rows, columns]) & (depth < 1)
        rho[rows, columns][mine] = depth[mine]
        owner[rows, columns][mine] = cell
        phase[rows, columns][mine] = angle[mine]
        core = _ellipse(
            dy,
            dx,
            angle,
            cells.nucleus_radius[cell],
            cells.nucleus_elongation[cell],
            cells.nucleus_angle[cell],
            cells.nucleus_waves[cell],
        )
        nucleus[rows, columns][mine] = core[mine]
    return Geometry(owner, rho, nucleus, phase)


def _window(y: float, x: float, reach: int, size: int) -> tuple[slice, slice, np.ndarray, np.ndarray] | None:
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    bottom, right = min(int(y) + reach + 1, size), min(int(x) + reach + 1, size)
    if top >= bottom or left >= right:
        return None
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
    dx = np.arange(left, right, dtype=np.float32)[None] - np.float32(x)
    return slice(top, bottom), slice(left, right), dy, dx


def _ellipse(
    dy: np.ndarray,
    dx: np.ndarray,
    angle: np.ndarray,
    radius: float,
    elongation: float,
    tilt: float,
    waves: np.ndarray,
) -> np.ndarray:
    """Distance from the centre in units of a wavy ellipse's edge."""
    along = dx * np.cos(tilt) + dy * np.sin(tilt)
    across = dy * np.cos(tilt) - dx * np.sin(tilt)
    distance = np.sqrt(along**2 / elongation + across**2 * elongation) / radius
    outline = 1 + sum(a * np.cos(k * angle + p) for k, (a, p) in zip(LOBES, waves, strict=True))
    return (distance / outline).astype(np.float32)


def _smooth_step(value: np.ndarray) -> np.ndarray:
    clipped = np.clip(value + 0.5, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def _nucleoli(cells: Cells, size: int, rng: np.random.Generator) -> np.ndarray:
    counts = rng.poisson(np.clip(2.4 * np.exp(0.35 * cells.phenotype["nucleolus_count"]), 0.5, 7)).clip(1, 8)
    cell = np.repeat(np.arange(len(counts)), counts)
    distance = cells.nucleus_radius[cell] * 0.62 * np.sqrt(rng.random(len(cell)))
    angle = rng.uniform(0, 2 * np.pi, len(cell))
    width = (
        1.35 * np.exp(0.2 * cells.phenotype["nucleolus_size"][cell]) * np.sqrt(2.4 / np.maximum(counts[cell], 1)) ** 0.4
    )
    return np.clip(
        _spots(cells.y[cell] + distance * np.sin(angle), cells.x[cell] + distance * np.cos(angle), width, size),
        0,
        1.4,
    )


def _spots(y: np.ndarray, x: np.ndarray, width: np.ndarray, size: int) -> np.ndarray:
    """Add up round Gaussian spots of the given widths (standard deviations in pixels)."""
    canvas = np.zeros((size, size), np.float32)
    for spot in range(len(y)):
        window = _window(y[spot], x[spot], int(3 * width[spot]) + 1, size)
        if window is not None:
            rows, columns, dy, dx = window
            canvas[rows, columns] += np.exp(-(dy**2) / (2 * width[spot] ** 2)) * np.exp(
                -(dx**2) / (2 * width[spot] ** 2)
            )
    return canvas


def _draw_chromatin(nucleus: np.ndarray, nucleoli: np.ndarray, of_cell: _Lookup, texture: _Textures) -> np.ndarray:
    contrast = 0.16 * np.exp(0.5 * np.clip(of_cell["chromatin_clumps"], -2, 2))
    return nucleus * np.clip(0.8 + contrast * texture(2.2) - 0.25 * nucleoli, 0.1, None)


def _draw_er(
    geometry: Geometry,
    edge: np.ndarray,
    nucleus: np.ndarray,
    well: dict[str, float],
    of_cell: _Lookup,
    texture: _Textures,
) -> np.ndarray:
    reach = 0.5 * np.exp(0.28 * np.clip(of_cell["er_spread"], -2, 2))
    mesh = 1 - np.abs(texture(3.2 * np.exp(0.25 * well["er_mesh"])))
    return edge * np.exp(-geometry.rho / reach) * np.clip(1.1 + 0.45 * mesh, 0, None) * (1.4 - 1.15 * nucleus)


def _draw_actin(
    geometry: Geometry,
    edge: np.ndarray,
    cells: Cells,
    well: dict[str, float],
    of_cell: _Lookup,
    texture: _Textures,
) -> np.ndarray:
    size = len(edge)
    spacing = 4.6 * np.exp(0.24 * well["actin_spacing"])
    tilt = of_cell.values(cells.angle)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wave = np.cos(2 * np.pi * (y * np.cos(tilt) - x * np.sin(tilt)) / spacing + 1.3 * texture(14.0))
    fibres = np.clip(wave, 0, 1) ** 2 * np.clip(0.7 + 0.4 * texture(9.0), 0, None)
    ruffles = 1 + 0.35 * np.exp(0.3 * of_cell["actin_ruffles"]) * np.sin(9 * geometry.phase + 2 * texture(16.0))
    cortex = np.exp(-(((geometry.rho - 0.9) / 0.09) ** 2)) * np.clip(ruffles, 0, None)
    share = 1 / (1 + np.exp(-0.8 * of_cell["actin_fibres"]))
    return edge * (0.1 + 0.95 * share * fibres * (geometry.rho < 0.92)) + 1.1 * (1 - share) * cortex * (
        geometry.owner >= 0
    )


def _draw_mitochondria(
    geometry: Geometry,
    edge: np.ndarray,
    nucleus: np.ndarray,
    well: dict[str, float],
    of_cell: _Lookup,
    texture: _Textures,
) -> np.ndarray:
    tubes = np.exp(-((texture(3.6) / 0.33) ** 2))  # the zero lines of a smooth texture are long and thin
    cuts = _smooth_step(2.2 * texture(2.6) + 1.1 + 0.9 * of_cell["mitochondria_length"])
    place = 0.48 + 0.13 * np.clip(of_cell["mitochondria_spread"], -2.2, 2.2)
    where = np.exp(-(((geometry.rho - place) / 0.27) ** 2))
    return edge * where * (0.08 + 1.15 * tubes * cuts) * (1 - 0.9 * nucleus)


def _draw_golgi(
    geometry: Geometry,
    edge: np.ndarray,
    nucleus: np.ndarray,
    cells: Cells,
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    stacks = rng.poisson(9 * np.exp(0.35 * np.clip(cells.phenotype["golgi_fragments"], -2.5, 2))).clip(2, 40)
    cell = np.repeat(np.arange(len(stacks)), stacks)
    side = rng.uniform(0, 2 * np.pi, len(stacks))[cell]
    away = cells.nucleus_radius[cell] * (1.15 + 0.25 * np.clip(cells.phenotype["golgi_distance"][cell], -2.5, 3))
    scatter = 3.0 * np.exp(0.38 * np.clip(cells.phenotype["golgi_dispersion"][cell], -2.5, 2))
    y = cells.y[cell] + away * np.sin(side) + scatter * rng.normal(size=len(cell))
    x = cells.x[cell] + away * np.cos(side) + scatter * rng.normal(size=len(cell))
    spots = np.clip(_spots(y, x, rng.uniform(0.9, 1.5, len(cell)), size), 0, 1.8)
    membrane = np.exp(-(((geometry.rho - 0.96) / 0.05) ** 2)) * (geometry.owner >= 0)
    return spots * (geometry.owner >= 0) * (1 - 0.6 * nucleus) + 0.25 * membrane + 0.1 * edge
