"""What a page is made of: sections that hold paragraphs, lists, panels of figures, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from matplotlib.figure import Figure

from cellmae.report.style import png_data_uri, save_png, svg_data_uri
from cellmae.report.words import format_cell


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
        """Save the figure as PNG into ``folder`` and return its data URI."""
        save_png(self.figure, folder / f"{self.name}.png")
        return svg_data_uri(self.figure)


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
    text. A page shows the first ``limit`` rows and says where the others are.
    """

    kind: ClassVar[str] = "table"
    name: str
    frame: pd.DataFrame
    shown: pd.DataFrame
    caption: str
    formats: Mapping[str, str] = field(default_factory=dict)
    limit: int = 60

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


Block = Text | Points | Panels | Table | Listing


@dataclass(frozen=True)
class Section:
    """A part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]
