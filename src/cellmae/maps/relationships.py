"""Known relationships: pairs and sets of perturbations, from files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from cellmae.errors import DataError
from cellmae.genes import Aliases
from cellmae.logging import logger
from cellmae.screen.listing import listing

ENTITIES = ["entity1", "entity2"]
SET_COLUMNS = ["set", "member"]
UNMATCHED_COLUMNS = ["source", "missing_in", "perturbation"]


def read_relationships(path: str | Path, *, aliases: Aliases | None = None) -> pd.DataFrame:
    """Read known pairs, each once and in alphabetical order.

    Parameters
    ----------
    path
        Pairs: text with a header that names ``entity1`` and ``entity2``, separated by commas or tabs. Sets,
        all pairs of which count: ``.gmt`` (name, description, members, separated by tabs), or two columns
        without a header (name, a tab, members separated by spaces).
    aliases
        Replace names by approved ones.

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
    lines = _lines(path)
    separator = "\t" if "\t" in lines[0] else ","
    header = [name.strip().strip('"').lower() for name in lines[0].split(separator)]
    sets = _sets(path, lines, header)
    if sets is not None:
        return pairs_of_sets(_set_table(path, sets, aliases))
    if not set(ENTITIES) <= set(header):
        raise DataError(
            f"{path} has the columns {', '.join(header[:6])}: expected entity1 and entity2, a .gmt file, or "
            "lines of a name, a tab, and members"
        )
    columns = [header.index(entity) for entity in ENTITIES]
    table = pd.read_csv(path, sep=separator, usecols=columns, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    pairs = table.iloc[:, np.argsort(np.argsort(columns))].set_axis(ENTITIES, axis=1)
    return _unordered_unique(_resolved(path, pairs, aliases))


def read_sets(path: str | Path, *, aliases: Aliases | None = None) -> pd.DataFrame | None:
    """Read sets with their names; None from a file of pairs.

    Parameters
    ----------
    path, aliases
        As in :func:`read_relationships`.

    Returns
    -------
    DataFrame
        ``set`` and ``member``, each member once a set, in the order of the file. A second set of the same name is
        told apart by a number, as in ``Ribosome (2)``.
    """
    path = Path(path)
    lines = _lines(path)
    header = [name.strip().strip('"').lower() for name in lines[0].split("\t" if "\t" in lines[0] else ",")]
    sets = _sets(path, lines, header)
    return None if sets is None else _set_table(path, sets, aliases)


def pairs_of_sets(sets: pd.DataFrame) -> pd.DataFrame:
    """Return all pairs of members of the same set, each once, as :func:`read_relationships` does."""
    names, members = np.unique(sets["member"].to_numpy(dtype=object), return_inverse=True)
    labels = pd.factorize(sets["set"])[0]
    shape = (labels.max(initial=-1) + 1, len(names))
    belongs = sparse.csr_array((np.ones(len(sets), dtype=np.int32), (labels, members)), shape=shape)
    first, second = sparse.triu(belongs.T @ belongs, k=1).tocsr().sorted_indices().nonzero()
    return pd.DataFrame({"entity1": names[first], "entity2": names[second]})


def unmatched(relationships: Mapping[str, pd.DataFrame], names: pd.Index) -> pd.DataFrame:
    """List the names that known pairs and a map do not have in common.

    Returns
    -------
    DataFrame
        ``source``; ``missing_in``, which is ``map`` for a name of the source alone and ``source`` for a name of the
        map alone; ``perturbation``.
    """
    tables = [pd.DataFrame(columns=UNMATCHED_COLUMNS, dtype=object)]
    for source, known in relationships.items():
        theirs = pd.Index(pd.unique(known[ENTITIES].to_numpy(dtype=object).ravel()))
        for place, missing in (("map", theirs.difference(names)), ("source", names.difference(theirs))):
            tables.append(pd.DataFrame({"source": source, "missing_in": place, "perturbation": missing}))
        absent = theirs.difference(names)
        logger.info(
            "%s names %d perturbations, %d of them in the map; not: %s",
            source, len(theirs), len(theirs) - len(absent), listing(absent) or "none",
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as relationships: {error}") from None
    if not lines:
        raise DataError(f"{path} is empty: expected pairs under entity1,entity2, or sets")
    return lines


def _sets(path: Path, lines: list[str], header: list[str]) -> list[tuple[str, list[str]]] | None:
    """Return names and members, or None where the lines are no sets."""
    if path.suffix == ".gmt":
        return [(fields[0], fields[2:]) for fields in (line.split("\t") for line in lines)]
    if not set(ENTITIES) <= set(header) and all(line.count("\t") == 1 for line in lines):
        return [(name, members.split()) for name, members in (line.split("\t") for line in lines)]
    return None


def _set_table(path: Path, sets: list[tuple[str, list[str]]], aliases: Aliases | None) -> pd.DataFrame:
    labels = pd.Series([name.strip() for name, _ in sets])
    again = labels.groupby(labels).cumcount()
    labels = labels.where(again == 0, labels + " (" + (again + 1).astype(str) + ")")
    rows = [(label, member.strip()) for label, (_, members) in zip(labels, sets, strict=True) for member in members]
    table = pd.DataFrame(rows, columns=SET_COLUMNS, dtype=str)
    table = table[table["member"] != ""]
    return _resolved(path, table, aliases, ["member"]).drop_duplicates(ignore_index=True)


def _resolved(path: Path, table: pd.DataFrame, aliases: Aliases | None, columns: list[str] = ENTITIES) -> pd.DataFrame:
    """Replace names by approved ones, and log how many that were."""
    table = table.assign(**{column: table[column].str.strip() for column in columns})
    if aliases is None:
        return table
    names = pd.Index(pd.unique(table[columns].to_numpy(dtype=object).ravel()))
    approved = pd.Series(aliases.resolve(names), index=names)
    renamed = approved[approved != names]
    shown = (f"{old} to {new}" for old, new in renamed.items())
    logger.info("%s: %d of %d names replaced by approved ones: %s", path, len(renamed), len(names), listing(shown))
    return table.assign(**{column: table[column].map(approved) for column in columns})


def _unordered_unique(pairs: pd.DataFrame) -> pd.DataFrame:
    first, second = pairs["entity1"], pairs["entity2"]
    ordered = pd.DataFrame(
        {"entity1": first.where(first < second, second), "entity2": second.where(first < second, first)}
    )
    kept = (first != second) & (first != "") & (second != "")
    return ordered[kept].drop_duplicates().sort_values(ENTITIES, ignore_index=True)
