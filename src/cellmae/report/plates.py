"""Plates as they came through the tiling: kept tiles well by well, and what was lost and why."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cellmae.files import read_manifest
from cellmae.report.blocks import Panels, Plot, Section, Table, Text
from cellmae.report.style import new_figure
from cellmae.report.words import quantity
from cellmae.tiles import read_tiles

MOST_DRAWN = 12
WORST_WELLS = 12
MOST_VECTORS = 400  # marks in a figure; more are drawn as an image
MEASURES = {
    "brightness": "Brightness (0 to 255)",
    "focus": "Focus (variance of Laplacian)",
    "saturated": "Saturated share",
    "foreground": "Foreground share",
}
LOST = LinearSegmentedColormap.from_list("lost", ["#c3cbd3", "#e39b62", "#b03a06"])


def well_quality(tiles: pd.DataFrame, wells: pd.DataFrame) -> pd.DataFrame:
    """Count tiles and fields of each well of a plate.

    Parameters
    ----------
    tiles
        Tile table of the plate, as :func:`cellmae.tiles.read_tiles` returns it.
    wells
        Annotated wells of the plate: ``well``, ``row``, ``column``.

    Returns
    -------
    pandas.DataFrame
        A row a well that has fields: ``plate``, ``well``, ``row``, ``column``, ``fields``, ``lost_fields``,
        ``tiles``, ``kept``, and ``kept_share``, which is 0 where every field was lost; then the means of the measures
        of :data:`MEASURES` over the well's tiles, kept or not: ``brightness`` and ``focus`` are those of its channels,
        see :class:`cellmae.tiles.quality.Quality`.
    """
    stored = tiles[tiles["field"] >= 0]
    lost = tiles[tiles["field"] < 0]
    counts = pd.DataFrame(
        {
            "fields": stored.groupby("well")["field"].nunique(),
            "lost_fields": lost.groupby("well").size(),
            "tiles": stored.groupby("well").size(),
            "kept": stored.groupby("well")["keep"].sum(),
        }
    )
    counts = counts.fillna(0).astype("int64")
    counts["kept_share"] = counts["kept"] / counts["tiles"].where(counts["tiles"] > 0, 1)
    measures = pd.DataFrame(
        {
            "brightness": stored.filter(regex="^mean_").mean(axis=1),
            "focus": stored.filter(regex="^focus_").mean(axis=1),
            "saturated": stored["saturated"],
            "foreground": stored["foreground"],
        }
    )
    counts = counts.join(measures.groupby(stored["well"]).mean())
    counts = wells[["plate", "well", "row", "column"]].merge(counts, left_on="well", right_index=True)
    return counts.sort_values(["row", "column"], ignore_index=True)


def plate_figure(quality: pd.DataFrame, *, rows: int, columns: int) -> Figure:
    """Draw the kept share of tiles of each well where it lies on the plate; a cross marks wells that lost fields.

    Parameters
    ----------
    quality
        From :func:`well_quality`.
    rows, columns
        Size of the plate.
    """
    figure, (axes,) = new_figure(3.7, 0.9 + 3.25 * rows / columns)
    width = 210 / columns  # of a well, in points
    wells = axes.scatter(
        quality["column"],
        quality["row"],
        c=1 - quality["kept_share"],
        cmap=LOST,
        vmin=0,
        vmax=1,
        s=(0.82 * width) ** 2,
        linewidths=0,
        rasterized=len(quality) > MOST_VECTORS,
    )
    losers = quality[quality["lost_fields"] > 0]
    axes.scatter(losers["column"], losers["row"], marker="x", s=(0.4 * width) ** 2, c="black", linewidths=0.1 * width)
    axes.set(xlim=(0.4, columns + 0.6), ylim=(rows + 0.6, 0.4), aspect="equal")
    ticks = range(1, rows + 1, -(-rows // 16))
    axes.set_yticks(ticks, [_row_letters(row) for row in ticks], fontsize=8)
    ticks = range(1, columns + 1, -(-columns // 12))
    axes.set_xticks(ticks, [str(column) for column in ticks], fontsize=8)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(wells, ax=axes, orientation="horizontal", shrink=0.6, aspect=30, pad=0.04)
    bar.set_ticks([0, 0.5, 1], labels=["all kept", "half", "none kept"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    return figure


def measures_figure(
    quality: pd.DataFrame, limits: Mapping[str, tuple[float, float]], *, rows: int, columns: int
) -> Figure:
    """Draw each of :data:`MEASURES` where the wells lie on the plate, side by side.

    Parameters
    ----------
    quality
        From :func:`well_quality`.
    limits
        The values at both ends of the colours, the same for all plates, by measure.
    rows, columns
        Size of the plate.
    """
    figure, panels = new_figure(9.5, 0.9 + 2.3 * rows / columns, columns=len(MEASURES))
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        wells = np.full((rows, columns), np.nan)
        wells[quality["row"] - 1, quality["column"] - 1] = quality[measure]
        low, high = limits[measure]
        extent = (0.5, columns + 0.5, rows + 0.5, 0.5)
        drawn = axes.imshow(wells, cmap="viridis", vmin=low, vmax=high, extent=extent, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.8, aspect=22, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, length=0)
        bar.ax.locator_params(nbins=4)
    return figure


def plates_section(
    tables: Mapping[str, Path], manifests: Mapping[str, Path], wells: Mapping[str, pd.DataFrame]
) -> Section:
    """Show what tiling kept and lost.

    Parameters
    ----------
    tables, manifests
        Tile table and manifest by plate.
    wells
        Annotated wells by plate.
    """
    records = {plate: read_manifest(path, stage="tiles") for plate, path in manifests.items()}
    quality = {plate: well_quality(read_tiles(path), wells[plate]) for plate, path in tables.items()}
    summary = _summary(records)
    drawn = _plates_to_draw(quality)
    rows = max(table["row"].max() for table in wells.values())
    columns = max(table["column"].max() for table in wells.values())
    rows, columns = _plate_size(int(rows), int(columns))
    plots = [
        Plot(
            f"plate-{plate}",
            plate_figure(quality[plate], rows=rows, columns=columns),
            alt=(
                f"Plate {plate}: kept share of tiles by well, {quality[plate]['kept_share'].mean():.2f} on average, "
                f"{quality[plate]['kept_share'].min():.2f} in the worst well; "
                f"{quantity(int((quality[plate]['lost_fields'] > 0).sum()), 'well')} lost fields."
            ),
            title=plate,
        )
        for plate in drawn
    ]
    which = "" if len(drawn) == len(quality) else f" Shown: the {len(drawn)} of {len(quality)} plates that kept least."
    caption = (
        "Share of the tiles of each well that training and embedding use. Look for rows, columns or corners that "
        f"stand out; a cross marks a well that lost whole fields; blank wells have no images.{which}"
    )
    return Section(
        "tiles",
        "Kept and lost tiles",
        [
            Text([_in_words(summary)]),
            Panels(plots, caption),
            _measures({plate: quality[plate] for plate in drawn}, rows=rows, columns=columns),
            _summary_table(summary),
            *_reason_tables(records),
            _wells_table(pd.concat(quality.values(), ignore_index=True)),
        ],
    )


def _measures(quality: Mapping[str, pd.DataFrame], *, rows: int, columns: int) -> Panels:
    every = pd.concat(quality.values())
    limits = {measure: _limits(every[measure].dropna()) for measure in MEASURES}
    plots = [
        Plot(
            f"measures-{plate}",
            measures_figure(table, limits, rows=rows, columns=columns),
            alt=f"Plate {plate}, means by well: "
            + "; ".join(
                f"{title.lower()} {table[measure].min():.3g} to {table[measure].max():.3g}"
                for measure, title in MEASURES.items()
            )
            + ".",
            title=plate,
        )
        for plate, table in quality.items()
    ]
    caption = (
        "Measures of the tiles, kept or not, as means by well, in the same colours for all plates. Gradients from edge "
        "to edge come from pipetting, staining or illumination (tiles.illumination divides the last out), single "
        "wells out of line from dust, focus or death."
    )
    return Panels(plots, caption, size="wide")


def _limits(values: pd.Series) -> tuple[float, float]:
    """Return the range that all but a hundredth of the values lie in; any range where there are none."""
    if values.empty:
        return 0.0, 1.0
    low, high = values.quantile([0.005, 0.995])
    return float(low), float(max(high, low + 1e-9))


def _row_letters(row: int) -> str:
    """Name a row, counted from 1."""
    return ("A" if row > 26 else "") + chr(ord("A") + (row - 1) % 26)


def _plate_size(rows: int, columns: int) -> tuple[int, int]:
    """Return the size of the smallest standard plate that holds these wells."""
    for factor in (1, 2, 4, 6):
        if rows <= 8 * factor and columns <= 12 * factor:
            return 8 * factor, 12 * factor
    return rows, columns


def _plates_to_draw(quality: Mapping[str, pd.DataFrame]) -> list[str]:
    worst = sorted(quality, key=lambda plate: quality[plate]["kept_share"].mean())[:MOST_DRAWN]
    return [plate for plate in quality if plate in set(worst)]


def _summary(records: Mapping[str, Mapping]) -> pd.DataFrame:
    rows = [
        {
            "plate": plate,
            "fields": record["fields"],
            "lost_fields": len(record["dropped"]),
            "tiles": record["tiles"],
            "kept": record["kept"],
            "kept_share": record["kept"] / max(record["tiles"], 1),
        }
        for plate, record in records.items()
    ]
    return pd.DataFrame(rows)


def _in_words(summary: pd.DataFrame) -> str:
    fields, lost, tiles, kept = (int(summary[column].sum()) for column in ("fields", "lost_fields", "tiles", "kept"))
    losses = (
        f"{quantity(lost, 'field')} of {fields + lost:,} could not be used and {'was' if lost == 1 else 'were'} lost"
    )
    return (
        f"{kept:,} of {tiles:,} tiles were kept ({100 * kept / max(tiles, 1):.1f} %). "
        f"{losses if lost else f'None of {fields:,} fields was lost'}."
    )


def _summary_table(summary: pd.DataFrame) -> Table:
    shown = summary.rename(
        columns={
            "plate": "Plate",
            "fields": "Fields",
            "lost_fields": "Lost fields",
            "tiles": "Tiles",
            "kept": "Kept",
            "kept_share": "Kept share",
        }
    )
    formats = dict.fromkeys(shown.columns[1:], "{:,}") | {"Kept share": "{:z.3f}"}
    return Table("plates", summary, shown, "Fields and tiles by plate.", formats)


def _reason_tables(records: Mapping[str, Mapping]) -> list[Table]:
    rejected = [
        {"plate": plate, "reason": reason, "tiles": count}
        for plate, record in records.items()
        for reason, count in record["rejected"].items()
    ]
    dropped = [{"plate": plate, **field} for plate, record in records.items() for field in record["dropped"]]
    tables = []
    if rejected:
        frame = pd.DataFrame(rejected)
        sums = frame.groupby("reason")["tiles"].sum().sort_values(ascending=False)
        shown = pd.DataFrame({"Reason": sums.index, "Tiles": sums.to_numpy()})
        caption = "Why tiles were left out, over all plates."
        tables.append(Table("rejected-tiles", frame, shown, caption, {"Tiles": "{:,}"}))
    if dropped:
        frame = pd.DataFrame(dropped)[["plate", "well", "site", "reason"]]
        shown = frame.rename(columns=str.capitalize)
        caption = "Fields that could not be used, each with its reason."
        tables.append(Table("lost-fields", frame, shown, caption, {"Site": "{}"}))
    return tables


def _wells_table(quality: pd.DataFrame) -> Table:
    lossy = quality[(quality["kept"] < quality["tiles"]) | (quality["lost_fields"] > 0)]
    worst = lossy.sort_values(["kept_share", "plate", "row", "column"]).head(WORST_WELLS)
    shown = worst[["plate", "well", "fields", "lost_fields", "tiles", "kept", "kept_share"]].rename(
        columns=lambda name: name.replace("_", " ").capitalize()
    )
    caption = f"{quantity(len(lossy), 'well')} of {len(quality):,} lost a tile or a field."
    if len(lossy) > len(shown):
        caption += f" Those {len(shown)} that kept the smallest share:"
    formats = dict.fromkeys(shown.columns[2:], "{:,}") | {"Kept share": "{:z.3f}"}
    return Table("wells", quality, shown, caption, formats)
