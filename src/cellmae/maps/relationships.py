"""Known relationships: pairs and sets of perturbations, from files."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from cellmae.errors import DataError

ENTITIES = ["entity1", "entity2"]


def read_relationships(path: str | Path) -> pd.DataFrame:
    """Read known pairs, each once and in alphabetical order.

    Parameters
    ----------
    path
        Pairs: text with a header that names ``entity1`` and ``entity2``, separated by commas or tabs. Sets,
        all pairs of which count: ``.gmt`` (name, description, members, separated by tabs), or two columns
        without a header (name, a tab, members separated by spaces).

    Returns
    -------
    DataFrame
        ``entity1 < entity2``; no pair of an entity with itself.

    Raises
    ------
    DataError
        The file is missing, no text, or in none of these forms.
    """
    path = Path(path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as relationships: {error}") from None
    if not lines:
        raise DataError(f"{path} is empty: expected pairs under entity1,entity2, or sets")
    separator = "\t" if "\t" in lines[0] else ","
    header = [name.strip().strip('"').lower() for name in lines[0].split(separator)]
    if path.suffix == ".gmt":
        pairs = _pairs_of_sets([line.split("\t")[2:] for line in lines])
    elif set(ENTITIES) <= set(header):
        columns = [header.index(entity) for entity in ENTITIES]
        table = pd.read_csv(
            path, sep=separator, usecols=columns, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
        pairs = table.iloc[:, np.argsort(np.argsort(columns))].to_numpy(dtype=object)
    elif all(line.count("\t") == 1 for line in lines):
        pairs = _pairs_of_sets([line.split("\t")[1].split() for line in lines])
    else:
        raise DataError(
            f"{path} has the columns {', '.join(header[:6])}: expected entity1 and entity2, a .gmt file, or "
            "lines of a name, a tab, and members"
        )
    return _unordered_unique(pairs)


def _pairs_of_sets(sets: list[list[str]]) -> np.ndarray:
    pairs = {pair for members in sets for pair in combinations(sorted(set(members)), 2)}
    return np.array(sorted(pairs), dtype=object).reshape(-1, 2)


def _unordered_unique(pairs: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(pairs, columns=ENTITIES, dtype=str).apply(lambda column: column.str.strip())
    first, second = table["entity1"], table["entity2"]
    ordered = pd.DataFrame(
        {"entity1": first.where(first < second, second), "entity2": second.where(first < second, first)}
    )
    kept = (first != second) & (first != "") & (second != "")
    return ordered[kept].drop_duplicates().sort_values(ENTITIES, ignore_index=True)
