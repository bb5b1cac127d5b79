"""What a page is made of: sections that hold paragraphs, lists, panels of figures, galleries, maps, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cellmae.report.style import pixels_data_uri, png_data_uri, save_png, svg_data_uri, svg_drawing
from cellmae.report.words import format_cell

OPEN_ROWS = 16  # longer tables are folded away


@dataclass(frozen=True)
class Text:
    """Paragraphs; ``Markup`` stays markup, plain text is escaped by the template."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Points:
    """A list of short statements."""

    kind: ClassVar[str] = "points"
    items: Sequence[str]


@dataclass(frozen=True)
class Plot:
    """One drawn figure: the name of its file without suffix, and what a reader who cannot see it is told."""

    name: str
    figure: Figure
    alt: str
    title: str = ""

    def write(self, folder: Path) -> str:
        """Save the figure as PNG and SVG into ``folder`` and return its data URI."""
        save_png(self.figure, folder / f"{self.name}.png")
        drawing = svg_drawing(self.figure)
        (folder / f"{self.name}.svg").write_text(drawing, encoding="utf-8")
        return svg_data_uri(drawing)


@dataclass(frozen=True)
class Picture:
    """An image that another stage drew, copied as it is."""

    name: str
    path: Path
    alt: str
    title: str = ""

    def write(self, folder: Path) -> str:
        """Copy the image into ``folder`` and return its data URI."""
        (folder / f"{self.name}.png").write_bytes(self.path.read_bytes())
        return png_data_uri(self.path)


@dataclass(frozen=True)
class Photograph:
    """Pixels (y, x, 3) uint8: PNG in a file of their own, as WebP in the page."""

    name: str
    pixels: NDArray[np.uint8]
    alt: str
    title: str = ""

    def write(self, folder: Path) -> str:
        """Save the pixels into ``folder`` and return their data URI."""
        Image.fromarray(self.pixels).save(folder / f"{self.name}.png", optimize=True)
        return pixels_data_uri(self.pixels)


@dataclass(frozen=True)
class Panels:
    """Figures side by side under one caption; ``wide`` ones take a row each, ``small`` ones share it by four."""

    kind: ClassVar[str] = "panels"
    plots: Sequence[Plot | Picture]
    caption: str
    size: Literal["small", "medium", "wide"] = "medium"


@dataclass(frozen=True)
class Table:
    """A table: ``frame`` goes to the CSV file as it is, ``shown`` to the page.

    ``formats`` holds the format of each column of numbers, as in ``{"Recall": "{:z.3f}"}``; other columns are
    text. A page shows the first ``limit`` rows and says where the others are; a long table is folded away.
    """

    kind: ClassVar[str] = "table"
    name: str
    frame: pd.DataFrame
    shown: pd.DataFrame
    caption: str
    formats: Mapping[str, str] = field(default_factory=dict)
    limit: int = 60

    @property
    def folded(self) -> bool:
        """The table is longer than a reader wants to scroll past."""
        return len(self.shown) > OPEN_ROWS

    def rows(self) -> list[list[str]]:
        """Return the cells that the page shows, as text."""
        columns = [
            [format_cell(value, self.formats.get(str(name), "{}")) for value in self.shown[name].head(self.limit)]
            for name in self.shown
        ]
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Listing:
    """A long text as it is, folded away under a title."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Comparisons of photographs, each under a heading and a line of facts."""

    kind: ClassVar[str] = "gallery"
    entries: Sequence["Comparison"]
    caption: str

    @property
    def plots(self) -> list[Photograph]:
        """All photographs."""
        return [strip for entry in self.entries for strip in entry.strips]


@dataclass(frozen=True)
class Comparison:
    """Photographs one below the other: what they show is told by their titles."""

    title: str
    fact: str
    strips: Sequence[Photograph]


@dataclass(frozen=True)
class Explorer:
    """A map to search and to point at; ``data`` is what ``explorer.js`` reads, ``still`` what is seen without it."""

    kind: ClassVar[str] = "explorer"
    name: str
    data: Mapping[str, Any]
    still: Plot
    caption: str

    @property
    def plots(self) -> list[Plot]:
        """The figure that stands in where scripts do not run."""
        return [self.still]


Block = Text | Points | Panels | Table | Listing | Gallery | Explorer


@dataclass(frozen=True)
class Section:
    """A part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]
