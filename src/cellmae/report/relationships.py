"""The map itself: its cosines as a clustered heat map, and its strongest relationships."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from cellmae.maps import read_map, unit_vectors
from cellmae.maps.similarity import cosine_rows
from cellmae.report.blocks import Panels, Plot, Section, Table, Text
from cellmae.report.explorer import explorer_blocks, known_partners
from cellmae.report.galleries import Wells, gallery_blocks
from cellmae.report.style import DIVERGING, INK, new_figure
from cellmae.report.words import quantity, shorten

STRONGEST = 30
FEWEST_DRAWN = 3
MOST_IN_HEAT_MAP = 300
MOST_LABELS = 90
MOST_MARKED = 150


def strongest_pairs(units: NDArray, names: Sequence[str], *, count: int) -> pd.DataFrame:
    """Find the pairs whose cosines are farthest from zero, without holding all pairs at once.

    Parameters
    ----------
    units
        Profiles of length one, shape (perturbations, dimensions).

    Returns
    -------
    pandas.DataFrame
        ``entity1``, ``entity2``, ``cosine``; the largest absolute cosine first.
    """
    best: list[tuple[NDArray, NDArray, NDArray]] = []
    for start, block in cosine_rows(units):
        cosines = np.triu(block, k=start + 1)
        size = np.abs(cosines).ravel()
        kept = np.argpartition(-size, count)[:count] if count < size.size else np.arange(size.size)
        kept = np.sort(kept[size[kept] > 0])
        first, second = np.unravel_index(kept, cosines.shape)
        best.append((first + start, second, cosines.ravel()[kept]))
    first, second, values = (np.concatenate(parts) for parts in zip(*best, strict=True))
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    labels = np.asarray(names, dtype=object)
    return pd.DataFrame({"entity1": labels[first[order]], "entity2": labels[second[order]], "cosine": values[order]})


def known_in(strongest: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Name the sources that list each pair, in either direction; an empty text for none."""
    sources: dict[frozenset[str], set[str]] = {}
    wanted = set(strongest["entity1"]) | set(strongest["entity2"])
    near = pairs[pairs["entity1"].isin(wanted) & pairs["entity2"].isin(wanted)]
    for source, one, other in near[["source", "entity1", "entity2"]].itertuples(index=False):
        sources.setdefault(frozenset((one, other)), set()).add(source)
    return [
        ", ".join(sorted(sources.get(frozenset(pair), ())))
        for pair in strongest[["entity1", "entity2"]].itertuples(index=False, name=None)
    ]


def cluster_order(cosines: NDArray) -> NDArray[np.int64]:
    """Return an order in which alike rows are neighbours: average linkage on 1 - cosine."""
    distances = np.clip(1 - (cosines + cosines.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return leaves_list(linkage(squareform(distances, checks=False), method="average", optimal_ordering=True))


def heat_map(cosines: NDArray, names: Sequence[str], known: NDArray) -> Figure:
    """Draw cosines in the order given, with a dot above the diagonal for each known relationship.

    Parameters
    ----------
    cosines
        Shape (perturbations, perturbations).
    known
        Whether a relationship is known, same shape.
    """
    side = min(2.4 + 0.17 * len(names), 7.4)
    figure, (axes,) = new_figure(side + 0.8, side)
    image = axes.imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if len(names) <= MOST_LABELS:
        size = min(9.0, 430 / len(names))
        labels = [shorten(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), labels, fontsize=size)
        axes.tick_params(length=0, pad=2)
    if len(names) <= MOST_MARKED:
        rows, columns = np.nonzero(np.triu(known, 1))
        axes.scatter(columns, rows, s=(110 / len(names)) ** 2, c="black", edgecolors="white", linewidths=0.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=28, pad=0.02, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.set_label("cosine similarity", color=INK)
    return figure


def map_section(
    path: Path,
    pairs: pd.DataFrame,
    *,
    model: str,
    alignment: str,
    why: str,
    wells: Wells | None = None,
    seed: int = 0,
) -> Section:
    """Show one map: an embedding to explore, the clustered cosines, and the strongest pairs, known and unknown.

    Parameters
    ----------
    path
        The map as AnnData, one row a perturbation.
    pairs
        Known relationships within the map: ``source``, ``entity1``, ``entity2``.
    model, alignment, why
        Which map it is, and why this one is shown.
    wells
        Images of the screen; None where it has none.
    seed
        Of the embedding.
    """
    perturbations = read_map(path)
    vectors = pd.DataFrame(unit_vectors(perturbations.X), index=perturbations.obs_names).dropna()
    introduction = (
        f"The map of the model {model} with the alignment {alignment}, {why}: {quantity(len(vectors), 'perturbation')}."
    )
    if len(vectors) < FEWEST_DRAWN:
        few = f"A heat map needs {FEWEST_DRAWN} perturbations with a profile, so none is drawn."
        return Section("map", "The map", [Text([introduction, few])])
    units = vectors.to_numpy()
    strongest = strongest_pairs(units, list(vectors.index), count=max(STRONGEST, 20 * MOST_IN_HEAT_MAP))
    drawn = _most_related(strongest, list(vectors.index))
    table = strongest.assign(known_in=known_in(strongest, pairs))
    unknown = table[table["known_in"] == ""].head(STRONGEST)
    known = strongest_known(units, vectors.index, pairs).head(STRONGEST)
    facts = perturbations.obs.loc[vectors.index]
    return Section(
        "map",
        "The map",
        [
            Text([introduction]),
            *explorer_blocks(vectors, facts, pairs, label=f"{model} with {alignment}", seed=seed),
            _heat_map_panel(vectors.loc[drawn], pairs, total=len(vectors)),
            _strongest_table(table.head(STRONGEST)),
            *([_pairs_table("strongest-known", known, "known")] if len(known) else []),
            *gallery_blocks(known, wells, kind="known"),
            *([_pairs_table("strongest-unknown", unknown, "unknown")] if len(unknown) else []),
            *gallery_blocks(unknown, wells, kind="unknown"),
        ],
    )


def strongest_known(units: NDArray, names: pd.Index, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the known relationships of a map, the largest absolute cosine first.

    Returns
    -------
    pandas.DataFrame
        ``entity1``, ``entity2``, ``cosine``, ``known_in``, each pair once.
    """
    partners = known_partners(names, units, pairs)
    once = partners[partners["index"] < partners["partner"]]
    once = once.iloc[np.argsort(-once["cosine"].abs(), kind="stable")]
    labels = names.to_numpy(dtype=object)
    return pd.DataFrame(
        {
            "entity1": labels[once["index"]],
            "entity2": labels[once["partner"]],
            "cosine": once["cosine"].to_numpy(),
            "known_in": once["sources"].to_numpy(),
        }
    )


def _most_related(strongest: pd.DataFrame, names: list[str]) -> list[str]:
    """All perturbations while they fit a heat map, else those with the strongest relationships."""
    if len(names) <= MOST_IN_HEAT_MAP:
        return names
    ranked = strongest[["entity1", "entity2"]].to_numpy().ravel()
    return list(dict.fromkeys(ranked))[:MOST_IN_HEAT_MAP]


def _heat_map_panel(vectors: pd.DataFrame, pairs: pd.DataFrame, *, total: int) -> Panels:
    cosines = vectors.to_numpy() @ vectors.to_numpy().T
    order = cluster_order(cosines)
    names = list(vectors.index[order])
    place = {name: number for number, name in enumerate(names)}
    within = pairs[pairs["entity1"].isin(place) & pairs["entity2"].isin(place)]
    known = np.zeros(cosines.shape, dtype=bool)
    known[within["entity1"].map(place), within["entity2"].map(place)] = True
    known |= known.T
    shown = "" if len(names) == total else f" Shown: the {len(names)} of {total:,} with the strongest relationships."
    dots = (
        " Above the diagonal a dot marks each relationship that a database knows: dots on saturated squares are "
        "what recall counts."
        if known.any() and len(names) <= MOST_MARKED
        else ""
    )
    caption = (
        "Cosine similarity of perturbations, ordered by average linkage: red blocks on the diagonal are groups "
        f"with one phenotype, blue squares are opposite phenotypes.{dots}{shown}"
    )
    alt = (
        f"Clustered heat map of the cosine similarities of {len(names)} perturbations, with "
        f"{quantity(int(known.sum()) // 2, 'known relationship')} among them."
    )
    return Panels([Plot("map", heat_map(cosines[np.ix_(order, order)], names, known), alt)], caption, size="wide")


def _strongest_table(table: pd.DataFrame) -> Table:
    known = int((table["known_in"] != "").sum())
    caption = (
        f"The {len(table)} strongest relationships of the map, by absolute cosine; negative ones are opposite "
        f"phenotypes. Databases of this run know {known} of them; any other may be an error or a discovery, which the "
        "map alone cannot tell."
    )
    return _as_table("strongest-relationships", table, caption)


def _pairs_table(name: str, table: pd.DataFrame, kind: str) -> Table:
    return _as_table(name, table, f"The {len(table)} strongest {kind} relationships, by absolute cosine.")


def _as_table(name: str, table: pd.DataFrame, caption: str) -> Table:
    shown = pd.DataFrame(
        {
            "Perturbation": table["entity1"],
            "Perturbation ": table["entity2"],
            "Cosine": table["cosine"],
            "Known in": table["known_in"].replace("", None),
        }
    )
    return Table(name, table, shown, caption, {"Cosine": "{:z.3f}"})
