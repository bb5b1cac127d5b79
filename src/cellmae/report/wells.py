"""Wells before and after alignment: UMAPs, and how much neighbours share their batch and their perturbation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from cellmae.alignment import require_aligned
from cellmae.errors import DataError
from cellmae.genes import Genes
from cellmae.report.blocks import Panels, Plot, Section, Table, Text
from cellmae.report.style import BACKGROUND_POINT, COLOURS, assign_colours, new_figure
from cellmae.report.words import listed, quantity, shorten

FEWEST_WELLS = 20
MOST_WELLS = 5000
NEIGHBOURS = 15
GROUP_SIZES = (3, 20)
FEWEST_GROUPS = 3
BEFORE = "before"


@dataclass(frozen=True)
class WellMap:
    """Wells laid out in the plane.

    Attributes
    ----------
    stage
        ``before``, or the name of the alignment.
    obs
        Annotations of the wells, shape (wells, ...).
    coordinates
        UMAP coordinates, shape (wells, 2).
    neighbours
        Indices of the nearest wells in the full space, shape (wells, neighbours).
    """

    stage: str
    obs: pd.DataFrame
    coordinates: NDArray[np.float32]
    neighbours: NDArray[np.int64]


def sample_wells(path: Path, *, seed: int) -> anndata.AnnData:
    """Read aligned wells: those without missing values, at most :data:`MOST_WELLS` of them drawn at random."""
    require_aligned(path)
    wells = anndata.read_h5ad(path, backed="r")
    missing = [key for key in ("X_pca", "X_tvn") if key not in wells.obsm]
    if missing:
        raise DataError(f"{path} lacks obsm {listed(missing)}: run the stage alignment again")
    usable = np.flatnonzero(np.isfinite(wells.obsm["X_tvn"]).all(axis=1) & wells.obsm["X_tvn"].any(axis=1))
    if len(usable) > MOST_WELLS:
        usable = np.sort(np.random.default_rng(seed).choice(usable, MOST_WELLS, replace=False))
    try:
        return wells[usable].to_memory()
    finally:
        wells.file.close()


def standardise(X: NDArray) -> NDArray[np.float32]:
    """Centre and scale the features of embeddings over all wells, which knows of no batch."""
    X = np.asarray(X, dtype=np.float64)
    deviation = X.std(axis=0)
    scaled = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return scaled.astype(np.float32)


def lay_out(vectors: NDArray, obs: pd.DataFrame, *, stage: str, seed: int) -> WellMap:
    """Lay wells out by UMAP of cosine distances (McInnes et al. 2018, arXiv 1802.03426), with scanpy.

    Parameters
    ----------
    vectors
        Shape (wells, dimensions).
    """
    adata = anndata.AnnData(vectors, obs=pd.DataFrame(index=obs.index))
    sc.pp.neighbors(adata, n_neighbors=NEIGHBOURS, use_rep="X", metric="cosine", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return WellMap(stage, obs, np.asarray(adata.obsm["X_umap"]), nearest_wells(vectors))


def nearest_wells(vectors: NDArray) -> NDArray[np.int64]:
    """Return the nearest wells of each by cosine, itself left out, shape (wells, :data:`NEIGHBOURS`)."""
    return NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(vectors).kneighbors(return_distance=False)


def shared_with_neighbours(neighbours: NDArray, labels: pd.Series, of: NDArray) -> tuple[float, float]:
    """Return the share of neighbours that carry a well's own label, and that share where labels are shuffled.

    Parameters
    ----------
    neighbours
        Indices of the nearest wells, shape (wells, neighbours).
    labels
        One label a well.
    of
        Whether a well is asked, shape (wells,); all wells may be neighbours.
    """
    codes, _ = pd.factorize(labels)
    same = codes[neighbours] == codes[:, None]
    counts = np.bincount(codes)[codes]
    return float(same[of].mean()), float(((counts - 1) / (len(codes) - 1))[of].mean())


def known_groups(pairs: pd.DataFrame, present: Sequence[str]) -> list[tuple[str, ...]]:
    """Return sets of perturbations that known relationships join to each other and to no other perturbation.

    Parameters
    ----------
    pairs
        Columns ``entity1`` and ``entity2``.
    present
        Perturbations that have wells.

    Returns
    -------
    list of tuple
        Sets of 3 to 20 members, the largest first, each in alphabetical order.
    """
    names = sorted(set(present))
    index = {name: number for number, name in enumerate(names)}
    known = pairs[pairs["entity1"].isin(index) & pairs["entity2"].isin(index)]
    first, second = (known[column].map(index).to_numpy(dtype=int) for column in ("entity1", "entity2"))
    graph = csr_matrix((np.ones(len(known)), (first, second)), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    members = pd.Series(names).groupby(component).agg(tuple)
    fewest, most = GROUP_SIZES
    return sorted((group for group in members if fewest <= len(group) <= most), key=lambda group: (-len(group), group))


def perturbation_labels(obs: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Say which few wells get a colour: those of known groups, else of the perturbations with most wells.

    The groups are those of the source of ``pairs`` that has most, and at least three.

    Returns
    -------
    pandas.Series
        A label a well; empty for wells that stay grey, among them all controls.
    """
    treated = obs["perturbation"].astype(object).where(obs["role"].astype(str) == "treatment", "").fillna("")
    present = [name for name in treated.unique() if name]
    by_source = (known_groups(known, present) for _, known in pairs.groupby("source", sort=False))
    groups = max(by_source, key=len, default=[])
    if len(groups) >= FEWEST_GROUPS:
        named = {name: shorten(", ".join(group)) for group in groups[: len(COLOURS)] for name in group}
    else:
        common = treated[treated != ""].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        named = {name: shorten(name) for name in common.index[: len(COLOURS)]}
    return treated.map(named).fillna("")


def umap_figure(coordinates: NDArray, labels: pd.Series, colours: Mapping[str, Any], *, legend: bool) -> Figure:
    """Draw wells as points; those whose label has no colour lie grey behind the others.

    Parameters
    ----------
    coordinates
        Shape (wells, 2).
    labels
        One a well.
    colours
        Matplotlib colours by label.
    """
    figure, (axes,) = new_figure(2.8, 2.8 + (0.19 * len(colours) + 0.1 if legend else 0))
    area = float(np.clip(6000 / max(len(labels), 1), 4, 24))
    coloured = labels.isin(list(colours)).to_numpy()
    x, y = coordinates.T
    grey = ~coloured
    axes.scatter(x[grey], y[grey], s=area * 0.7, c=BACKGROUND_POINT, linewidths=0, alpha=0.6, rasterized=True)
    order = np.random.default_rng(0).permutation(np.flatnonzero(coloured))  # so that none hides the others
    points = [colours[label] for label in labels.iloc[order]]
    axes.scatter(x[order], y[order], s=area, c=points, linewidths=0, rasterized=True)
    axes.set(xticks=[], yticks=[], box_aspect=1)
    axes.spines[:].set_visible(False)
    if legend:
        handles = [axes.scatter([], [], s=28, color=colour, linewidths=0) for colour in colours.values()]
        figure.legend(handles, list(colours), loc="outside lower left", handletextpad=0.2, labelspacing=0.25)
    return figure


def batch_colours(batches: pd.Series) -> dict[str, Any]:
    """Give every batch a colour: its own while there are few, a place on one scale when there are many."""
    names = sorted(set(batches))
    if len(names) <= len(COLOURS):
        return dict(assign_colours(names))
    scale = colormaps["viridis"]
    return {name: scale(number / (len(names) - 1)) for number, name in enumerate(names)}


def _plots(well_map: WellMap, pairs: pd.DataFrame, *, name: str, model: str) -> list[Plot]:
    batches = well_map.obs["batch"].astype(str)
    groups = perturbation_labels(well_map.obs, pairs)
    by_batch = batch_colours(batches)
    by_group = assign_colours(sorted(set(groups) - {""}))
    stage = "Before" if well_map.stage == BEFORE else well_map.stage
    when = "before alignment" if well_map.stage == BEFORE else f"alignment {well_map.stage}"
    what = f"UMAP of {len(batches):,} wells, model {model}, {when}"
    return [
        Plot(
            f"{name}-batch",
            umap_figure(well_map.coordinates, batches, by_batch, legend=len(by_batch) <= len(COLOURS)),
            alt=f"{what}, coloured by batch; {len(by_batch)} batches.",
            title=f"{stage}: by batch",
        ),
        Plot(
            f"{name}-perturbation",
            umap_figure(well_map.coordinates, groups, by_group, legend=True),
            alt=f"{what}, coloured by perturbation: {listed(list(by_group))}; other wells grey.",
            title=f"{stage}: by perturbation",
        ),
    ]


def _mixing(well_map: WellMap) -> dict[str, float]:
    obs = well_map.obs
    everyone = np.ones(len(obs), dtype=bool)
    treated = (obs["role"].astype(str) == "treatment").to_numpy()
    batch, batch_chance = shared_with_neighbours(well_map.neighbours, obs["batch"].astype(str), everyone)
    names = obs["perturbation"].astype(object).fillna("")
    same, same_chance = (
        shared_with_neighbours(well_map.neighbours, names, treated) if treated.any() else (np.nan, np.nan)
    )
    return {
        "same_batch": batch,
        "same_batch_chance": batch_chance,
        "same_perturbation": same,
        "same_perturbation_chance": same_chance,
    }


def well_maps(paths: Mapping[str, Path], *, genes: Genes, seed: int) -> list[WellMap]:
    """Lay out the wells of one model before alignment and after each; empty below 20 usable wells.

    Parameters
    ----------
    paths
        File of aligned wells by name of the alignment.
    genes
        What perturbations are called on maps.
    """
    maps: list[WellMap] = []
    for alignment, path in paths.items():
        wells = sample_wells(path, seed=seed)
        if wells.n_obs < FEWEST_WELLS:
            continue
        obs = wells.obs.assign(perturbation=genes.named(wells.obs["perturbation"]))
        if not maps:
            maps.append(lay_out(standardise(wells.X), obs, stage=BEFORE, seed=seed))
        maps.append(lay_out(wells.obsm["X_tvn"], obs, stage=alignment, seed=seed))
    return maps


def wells_section(
    paths: Mapping[str, Mapping[str, Path]], pairs: pd.DataFrame, *, genes: Genes, left_out: int = 0, seed: int = 0
) -> Section:
    """Show how alignment moves wells.

    Parameters
    ----------
    paths
        File of aligned wells by model and by alignment.
    pairs
        Known relationships (``source``, ``entity1``, ``entity2``) whose closed groups give the colours.
    genes
        What perturbations are called on maps.
    left_out
        How many models of the run are not shown.
    """
    panels: list[Panels] = []
    rows = []
    for model, files in paths.items():
        maps = well_maps(files, genes=genes, seed=seed)
        plots = [
            plot
            for number, well_map in enumerate(maps)
            for plot in _plots(well_map, pairs, name=f"wells-{model}-{number}-{well_map.stage}", model=model)
        ]
        if plots:
            panels.append(Panels(plots, caption=_caption(model, maps), size="small"))
        rows += [{"model": model, "wells": well_map.stage, **_mixing(well_map)} for well_map in maps]
    title = "Wells before and after alignment"
    if not rows:
        reason = f"A UMAP needs {FEWEST_WELLS} wells with usable embeddings; this run has fewer, so none is drawn."
        return Section("wells", title, [Text([reason])])
    return Section("wells", title, [_mixing_table(pd.DataFrame(rows), left_out), *panels])


def _caption(model: str, maps: Sequence[WellMap]) -> str:
    count = len(maps[-1].obs)
    drawn = f"{count:,} wells drawn at random" if count == MOST_WELLS else quantity(count, "well")
    return (
        f"UMAPs of {drawn}, model {model}, cosine distance. Before: embeddings, standardised over all wells. "
        "Batches should mix after alignment, and wells of one perturbation or known group should lie together. "
        "Grey: controls and all other perturbations. Distances between far groups mean nothing in a UMAP; the "
        "table above counts neighbours in the full space."
    )


def _mixing_table(frame: pd.DataFrame, left_out: int) -> Table:
    shown = frame.rename(
        columns={
            "model": "Model",
            "wells": "Wells",
            "same_batch": "Same batch",
            "same_batch_chance": "if shuffled",
            "same_perturbation": "Same perturbation",
            "same_perturbation_chance": "if shuffled ",
        }
    )
    caption = (
        f"Of the {NEIGHBOURS} nearest wells of each well, by cosine in the full space: the share from its own "
        "batch (alignment should bring it down to the shuffled one) and, for treated wells, the share with its own "
        "perturbation (it should rise)."
    )
    if left_out:
        caption += f" The best model of each line is shown here, {quantity(left_out, 'other')} not."
    formats = dict.fromkeys(shown.columns[2:], "{:z.3f}")
    return Table("neighbours", frame, shown, caption, formats)
