"""Where the public tables lie that a configuration has downloaded: its section ``references``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATABASES_FOLDER, SYMBOLS_FOLDER = "relationships", "symbols"
SYMBOLS_FILE = "hgnc_complete_set.txt"


def reference_files(references: Mapping[str, Any] | None) -> list[str]:
    """Return the paths of the files: those of the databases, then that of the symbols."""
    if references is None:
        return []
    folder = Path(references["folder"])
    databases = [folder / DATABASES_FOLDER / f"{name}.txt" for name in references["databases"]]
    symbols = [folder / SYMBOLS_FOLDER / SYMBOLS_FILE] if references["symbols"] else []
    return [str(path) for path in (*databases, *symbols)]
