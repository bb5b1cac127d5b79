"""The nearest and the most opposed perturbations of one, and what is known of these pairs."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import false_discovery_control

from cellmae.errors import DataError
from cellmae.maps.reading import profiles, read_map
from cellmae.maps.relationships import ENTITIES, Aliases, read_relationships
from cellmae.maps.similarity import Null, cosines_of, unit_vectors

Relationships = Mapping[str, pd.DataFrame | str | Path]


def neighbors(
    perturbations: AnnData | str | Path,
    name: str,
    *,
    relationships: Relationships | None = None,
    n: int = 10,
    null: Null | None = None,
    aliases: Aliases | None = None,
) -> pd.DataFrame:
    """Find the perturbations most like one and most opposed to it.

    Parameters
    ----------
    perturbations
        The map, or the path of its ``map.h5ad``, of which only profiles and names are read.
    name
        A perturbation of the map.
    relationships
        Known pairs by name of their source: tables, or files as :func:`~cellmae.maps.read_relationships` takes.
    n
        Rows of each kind.
    null
        ``Null.of(unit_vectors(map.X))``: saves its computation where many perturbations of a large map are asked
        for, seconds each at 17,000.
    aliases
        Replace names of relationships by approved ones.

    Returns
    -------
    DataFrame
        The nearest first, the most opposed last, none twice: ``perturbation``; ``cosine``; ``rank`` among all
        partners, 1 the nearest; two-sided ``p_value``, twice the share of all pairs of the map whose cosine is
        at least as far out; ``fdr`` (Benjamini-Hochberg over all partners); ``known``, the sources that list the
        pair, and empty where none does.

    Raises
    ------
    DataError
        No such perturbation (close names are told), or one without a profile.
    """
    adata = perturbations if isinstance(perturbations, AnnData) else read_map(perturbations)
    names = adata.obs_names
    units = unit_vectors(profiles(adata))
    if name not in names:
        raise DataError(f"the map has no perturbation {name!r}{_close_names(name, names)}")
    own = names.get_loc(name)
    if np.isnan(units[own]).any():
        raise DataError(f"{name} has no direction in the map: its profile is zero or not finite")
    others = np.flatnonzero(np.arange(len(names)) != own)
    cosines = cosines_of(units, np.column_stack([np.full(len(others), own), others]))
    defined = np.isfinite(cosines)
    table = pd.DataFrame({"perturbation": names[others][defined], "cosine": cosines[defined]})
    table["rank"] = table["cosine"].rank(ascending=False, method="min").astype(int)
    table["p_value"] = (null or Null.of(units)).p_values(table["cosine"].to_numpy())
    table["fdr"] = false_discovery_control(table["p_value"])
    table = table.sort_values(["cosine", "perturbation"], ascending=[False, True], ignore_index=True)
    table = table if len(table) <= 2 * n else pd.concat([table.head(n), table.tail(n)], ignore_index=True)
    return table.assign(known=_known(name, table["perturbation"], relationships or {}, aliases))


def _close_names(name: str, names: pd.Index) -> str:
    by_case = {str(other).casefold(): str(other) for other in names}
    close = [by_case[match] for match in difflib.get_close_matches(name.casefold(), list(by_case), n=5)]
    return f"; close names are {', '.join(close)}" if close else f"; it has {len(names)} others, none of a close name"


def _known(name: str, partners: pd.Series, relationships: Relationships, aliases: Aliases | None) -> list[str]:
    """Return for each partner the sources, separated by commas, that list its pair with the perturbation."""
    sources: dict[str, list[str]] = {}
    for source, known in relationships.items():
        pairs = known if isinstance(known, pd.DataFrame) else read_relationships(known, aliases=aliases)
        first, second = (pairs[entity] for entity in ENTITIES)
        for partner in {*second[first == name], *first[second == name]}:
            sources.setdefault(partner, []).append(source)
    return [", ".join(sources.get(partner, [])) for partner in partners]
