"""Profiles: a table with a row a well, of features that were measured elsewhere; there are no images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.screen.annotations import annotate
from cellmae.screen.layouts.layout import ImagedPlates
from cellmae.screen.metadata import COMMON_PREFIX, column_names, find_column, read_metadata
from cellmae.screen.plate import Plate

COLUMNS = {"plate": "plate", "well": "well", "perturbation": "perturbation"}


class ProfilesLayout:
    """Annotations from the columns that the configuration names, and from all that begin with ``Metadata_``."""

    has_images = False

    def __init__(self, screen: Mapping[str, Any]) -> None:
        self._table = Path(screen["table"])
        self._columns = COLUMNS | dict(screen.get("columns") or {})
        self._control_where = screen.get("control_where") or {}

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""
        return [self._table]

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return what was done to each well."""
        names = column_names(self._table, key="screen.table")
        wanted = {name for name in names if name.lower().startswith(COMMON_PREFIX)}
        named = {f"screen.columns.{use}": name for use, name in self._columns.items()}
        named |= {f"screen.control_where.{name}": name for name in self._control_where}
        for key, name_or_names in named.items():
            for name in [name_or_names] if isinstance(name_or_names, str) else name_or_names:
                wanted.add(find_column(name, names, key=key, path=self._table))
        table = read_metadata(self._table, wanted, key="screen.table")
        annotations = annotate(table, self._columns, self._control_where, path=self._table)
        return annotations if "experiment" in annotations else annotations.assign(experiment="")

    def imaged_plates(self) -> ImagedPlates | None:
        """Return None: there are no images."""
        return None

    def images(self, plate: Plate) -> pd.DataFrame:
        """Return an empty table."""
        text, whole = (
            dict.fromkeys(["well", "channel", "path"], "object"),
            ["row", "column", "site", "size", "mtime_ns"],
        )
        return pd.DataFrame(columns=[*text, *whole]).astype(text | dict.fromkeys(whole, "int64"))

    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to its name."""
        return {}
