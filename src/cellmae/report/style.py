"""How every figure of the report looks: its colours, its type, and images that follow light and dark pages."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

INK = "#1d2329"
MUTED = "#66707a"
GRID = "#d9dee3"
BACKGROUND_POINT = "#8a939c"
# After Okabe & Ito (2008), the order chosen so that neighbours differ in lightness too; yellow vanishes on paper, and
# orange, purple and sky blue are darker here, for a contrast of 3:1 with it.
COLOURS = ("#0072b2", "#bf8000", "#009e73", "#d55e00", "#c46a9d", "#3590c9", "#8c6d46")
DIVERGING = "RdBu_r"
PNG_DPI = 160
WEBP_QUALITY = 88

STYLE: dict[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "cellmae",
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}

SVG_STYLE = """<style>
svg { --ink: #1d2329; --muted: #66707a; --grid: #d9dee3; }
@media (prefers-color-scheme: dark) { svg { --ink: #e4e7ea; --muted: #98a2ac; --grid: #363d45; } }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif !important; }
</style>"""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save figures in the report's style, whatever the user's own matplotlib settings are."""
    with style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` by ``height`` inches and its ``columns`` axes, without pyplot's global state."""
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def assign_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name, the same for the same order of names; they repeat after seven."""
    return dict(zip(names, cycle(COLOURS), strict=False))


def save_png(figure: Figure, path: Path) -> None:
    """Save a figure on white, without times or versions in the file."""
    figure.savefig(path, dpi=PNG_DPI, facecolor="white", metadata={"Software": None})


def svg_drawing(figure: Figure) -> str:
    """Return a figure as SVG whose ink is dark on light pages and light on dark ones."""
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        dpi=PNG_DPI,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    svg = buffer.getvalue()
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"(<svg\b[^>]*>)", lambda tag: tag.group(1) + SVG_STYLE, svg, count=1)


def svg_data_uri(svg: str) -> str:
    """Return an SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def png_data_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def pixels_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (y, x, 3) as the data URI of a WebP image, small for the eye to see no loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
