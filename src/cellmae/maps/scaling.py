"""How scores grow with the operations of a training: a table of points, trends, and gains over weak supervision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.files import read_manifest, write_csv
from cellmae.logging import logger
from cellmae.maps.bootstrap import interval, p_value, resampled_shares
from cellmae.maps.probe import resampled_r2
from cellmae.maps.reading import read_scores
from cellmae.maps.recall import THRESHOLDS, Thresholds, recalled
from cellmae.maps.relationships import ENTITIES
from cellmae.models import read_model
from cellmae.screen.listing import listing
from cellmae.study import group_of, whole_model

SECONDS_AN_HOUR = 3600
SCORE = ["alignment", "score", "source", "low", "high"]
"""What tells the scores of one model apart."""
POINT_COLUMNS = [
    *SCORE, "line", "model", "family", "size", "patch", "seed", "plates", "crops", "on_the_way", "parameters", "flops",
    "device_hours", "memory_mb", "pairs", "genes", "value", "value_ci_low", "value_ci_high",
]  # fmt: skip
TREND_COLUMNS = [
    *SCORE, "line", "models", "lowest_flops", "highest_flops", "intercept", "slope", "slope_ci_low", "slope_ci_high",
    "p_value",
]  # fmt: skip
BAND_COLUMNS = [*SCORE, "line", "flops", "value", "value_ci_low", "value_ci_high"]
GAIN_COLUMNS = [
    *SCORE, "line", "model", "value", "baseline", "baseline_value", "gain", "gain_ci_low", "gain_ci_high", "p_value",
]  # fmt: skip
LABELLED = "classifier"
TABLE_RECORD: dict[str, Any] = {"spec": {"family": "features"}, "training": None, "plates": [], "parameters": 0}
"""What is known of profiles that were measured elsewhere, which no model of a folder made."""
BAND_POINTS = 21
LEAST_SPAN = 2.0
"""How many times the operations of the smallest model the largest of a line must have for a trend."""


@dataclass(frozen=True)
class Replicates:
    """One score of several models, under the same draws of perturbations.

    Attributes
    ----------
    models
        Their names.
    values
        The score by model, shape (models,).
    draws
        Shape (replicates, models).
    pairs, genes
        How many known pairs (none for a probe) and perturbations it is about.
    """

    models: list[str]
    values: NDArray[np.float64]
    draws: NDArray[np.float64]
    pairs: float
    genes: int


class Fit(NamedTuple):
    """The trend of one line: of the scores as they are, and of each draw, shape (replicates,)."""

    line: str
    flops: NDArray[np.float64]
    slope: float
    intercept: float
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]


def training_facts(name: str, models: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training took, of a model or of a point on the way to one.

    Parameters
    ----------
    name
        The model.
    models
        Folder of the models of a run.
    study
        The section of the configuration.

    Returns
    -------
    dict
        ``line`` of the study, or the whole model where it is in none; ``family``, ``size`` or architecture,
        ``patch``, ``seed``, number of ``plates``, ``crops`` seen, whether it was ``on_the_way``, ``parameters`` of
        the encoder, ``flops`` of the training (zero without one), its ``device_hours``, hours times devices, and the
        ``memory_mb`` that it took at most.
    """
    record = read_model(models / name) if (models / name).exists() else TABLE_RECORD
    spec, training = record["spec"], record["training"] or {}
    on_the_way = whole_model(name) != name
    crops = training.get("crops", 0)
    return {
        "line": group_of(name, study),
        "family": spec["family"],
        "size": spec.get("architecture") or spec.get("size"),
        "patch": spec.get("patch"),
        "seed": spec.get("seed"),
        "plates": len(record["plates"]),
        "crops": crops,
        "on_the_way": on_the_way,
        "parameters": record["parameters"],
        "flops": training.get("flops", 0.0),
        **_measured(models / (record.get("of") or whole_model(name)) / "history.csv", crops),
    }


def _measured(history: Path, crops: float) -> dict[str, float]:
    """Return the hours and the memory that it took to see so many crops; NaN where the model has no history."""
    if not history.exists():
        return {"device_hours": np.nan, "memory_mb": np.nan}
    table = pd.read_csv(history)
    seconds = np.diff(table["crops"].clip(upper=crops), prepend=0) / table["crops_per_second"]
    until = seconds > 0
    devices = table["devices"].fillna(1) if "devices" in table else 1
    return {
        "device_hours": float((seconds * devices).sum() / SECONDS_AN_HOUR),
        "memory_mb": float(table["memory_mb"][until].max()) if "memory_mb" in table else np.nan,
    }


def scale(
    facts: pd.DataFrame,
    pairs: Mapping[str, pd.DataFrame],
    errors: Mapping[str, pd.DataFrame],
    *,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Relate the scores of models to the operations of their training.

    A trend is the least-squares line of a score over the decimal logarithm of operations, through the models of one
    line of the study, the largest of which had at least :data:`LEAST_SPAN` times the operations of the smallest. A gain
    is how much more the best model of a line scores than the best classifier, relative to it. Intervals and p-values
    come from resampling perturbations, with the same draws for all models, and choose the best models on the scores as
    they are; a gain has no interval where the classifier scores nothing in some draws.

    Models are scored on the pairs (the perturbations, for the probe) that all their maps have; a map without any is
    left out.

    Parameters
    ----------
    facts
        Index model; the columns of :func:`training_facts`.
    pairs
        By model the pairs of its map, the second table of :func:`~cellmae.maps.recall`.
    errors
        By model the errors of its probe, the second table of :func:`~cellmae.maps.probe`; empty without a truth.
    thresholds, replicates, seed
        As in :func:`~cellmae.maps.recall`.

    Returns
    -------
    tuple
        Tables of points, trends, bands and gains, see :data:`POINT_COLUMNS`, :data:`TREND_COLUMNS`,
        :data:`BAND_COLUMNS`, :data:`GAIN_COLUMNS`, without the column ``alignment``. A band is a trend at
        :data:`BAND_POINTS` numbers of operations between the lowest and the highest of its models.
    """
    points, trends, bands, gains = [], [], [], []
    options = {"replicates": replicates, "seed": seed}
    for score, found in [
        *_recalls({name: pairs[name] for name in facts.index if name in pairs}, thresholds, **options),
        *_probes({name: errors[name] for name in facts.index if name in errors}, **options),
    ]:
        scored = facts.loc[found.models]
        points.append(_points(scored, found).assign(**score))
        fits = _fits(scored, found)
        trends += [row | score for row in _trends(fits)]
        bands += [table.assign(**score) for table in _bands(fits)]
        gains += [row | score for row in _gains(scored, found)]
    stacked = [pd.concat(tables, ignore_index=True) if tables else pd.DataFrame() for tables in (points, bands)]
    found_columns = zip(
        (stacked[0], pd.DataFrame(trends), stacked[1], pd.DataFrame(gains)),
        (POINT_COLUMNS, TREND_COLUMNS, BAND_COLUMNS, GAIN_COLUMNS),
        strict=True,
    )
    return tuple(table.reindex(columns=[*names]).drop(columns="alignment") for table, names in found_columns)  # type: ignore[return-value]


def _recalls(
    pairs: Mapping[str, pd.DataFrame], thresholds: Thresholds, *, replicates: int, seed: int
) -> list[tuple[dict[str, Any], Replicates]]:
    """Return recall by source and threshold, over the pairs that all maps with any of the source have."""
    sources = dict.fromkeys(source for table in pairs.values() for source in table["source"].unique())
    found = []
    for source in sources:
        own = {name: table[table["source"] == source].set_index(ENTITIES) for name, table in pairs.items()}
        own = _on_all_maps(own, f"recall of {source}", f"known pairs of {source}")
        if not own:
            continue
        known = next(iter(own.values())).index
        genes, numbers = np.unique(known.to_frame().to_numpy(), return_inverse=True)
        for low, high in thresholds:
            hits = np.stack([recalled(table, low, high) for table in own.values()], axis=1)
            draws = resampled_shares(numbers.reshape(-1, 2), hits, replicates=replicates, seed=seed)
            score = {"score": "recall", "source": source, "low": low, "high": high}
            found.append((score, Replicates(list(own), hits.mean(axis=0), draws, len(known), len(genes))))
    return found


def _probes(
    errors: Mapping[str, pd.DataFrame], *, replicates: int, seed: int
) -> list[tuple[dict[str, Any], Replicates]]:
    """Return the probe's R2, over the perturbations that all models with a probe have."""
    own = {name: table.set_index("perturbation") for name, table in errors.items()}
    own = _on_all_maps(own, "the probe", "perturbations")
    if not own:
        return []
    tables = list(own.values())
    values = np.array([1 - table["sse"].sum() / table["sst"].sum() for table in tables])
    draws = np.stack([resampled_r2(table, replicates=replicates, seed=seed) for table in tables], axis=1)
    return [({"score": "probe_r2"}, Replicates(list(own), values, draws, np.nan, len(tables[0])))]


def _on_all_maps(tables: Mapping[str, pd.DataFrame], score: str, rows: str) -> dict[str, pd.DataFrame]:
    """Return the rows that all tables with any have, in one order, and say what is left out; nothing without rows."""
    kept = {name: table for name, table in tables.items() if len(table)}
    if missing := [name for name in tables if name not in kept]:
        logger.warning("%s: not scored for %s, which is left out", score, listing(missing))
    if not kept:
        return {}
    common = reduce(pd.Index.intersection, (table.index for table in kept.values()))
    most = max(map(len, kept.values()))
    if len(common) < most:
        fewer = [f"{name} ({len(table):,})" for name, table in kept.items() if len(table) < most]
        logger.warning("%s: %d of %d are on all maps; fewer on those of %s", rows, len(common), most, listing(fewer))
    return {name: table.loc[common] for name, table in kept.items()} if len(common) else {}


def _points(facts: pd.DataFrame, found: Replicates) -> pd.DataFrame:
    bounds = np.array([interval(draws) for draws in found.draws.T]).reshape(-1, 2)
    scores = {"value": found.values, "value_ci_low": bounds[:, 0], "value_ci_high": bounds[:, 1]}
    counts = {"pairs": found.pairs, "genes": found.genes}
    return facts.rename_axis("model").reset_index().assign(**scores, **counts)


def _trends(fits: Sequence[Fit]) -> list[dict[str, Any]]:
    rows = []
    for fit in fits:
        low, high = interval(fit.slopes)
        rows.append(
            {
                "line": fit.line, "models": len(fit.flops), "lowest_flops": fit.flops.min(),
                "highest_flops": fit.flops.max(), "intercept": fit.intercept, "slope": fit.slope,
                "slope_ci_low": low, "slope_ci_high": high, "p_value": p_value(fit.slopes),
            }
        )  # fmt: skip
    return rows


def _bands(fits: Sequence[Fit]) -> list[pd.DataFrame]:
    tables = []
    for fit in fits:
        x = np.linspace(np.log10(fit.flops.min()), np.log10(fit.flops.max()), BAND_POINTS)
        draws = np.outer(fit.slopes, x) + fit.intercepts[:, None]
        bounds = np.array([interval(column) for column in draws.T])
        band = {"flops": 10**x, "value": fit.slope * x + fit.intercept}
        band |= {"value_ci_low": bounds[:, 0], "value_ci_high": bounds[:, 1]}
        tables.append(pd.DataFrame(band).assign(line=fit.line))
    return tables


def _fits(facts: pd.DataFrame, found: Replicates) -> list[Fit]:
    """Fit each line whose models differ enough in operations."""
    fits = []
    trained = (facts["flops"] > 0).to_numpy()
    for line in facts.loc[trained, "line"].unique():
        members = np.flatnonzero(trained & (facts["line"] == line).to_numpy())
        flops = facts["flops"].to_numpy(dtype=float)[members]
        if flops.max() < LEAST_SPAN * flops.min():
            continue
        slopes, intercepts = _lines(np.log10(flops), found.draws[:, members])
        (slope,), (intercept,) = _lines(np.log10(flops), found.values[None, members])
        fits.append(Fit(line, flops, slope, intercept, slopes, intercepts))
    return fits


def _lines(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Return slopes and intercepts of the least-squares lines through each row of ``y``, shape (rows,)."""
    offset = x - x.mean()
    slopes = (y - y.mean(axis=1, keepdims=True)) @ offset / (offset @ offset)
    return slopes, y.mean(axis=1) - slopes * x.mean()


def _gains(facts: pd.DataFrame, found: Replicates) -> list[dict[str, Any]]:
    families, lines = facts["family"].to_numpy(), facts["line"].to_numpy()
    baseline = _best(found.values, families == LABELLED)
    if baseline is None or not found.values[baseline] > 0:
        return []
    rows = []
    for line in pd.unique(lines[(families != LABELLED) & (facts["flops"] > 0).to_numpy()]):
        best = _best(found.values, (lines == line) & (families != LABELLED))
        assert best is not None, "the line has a model"
        own, others = found.draws[:, best], found.draws[:, baseline]
        low, high = interval(own / others - 1) if (others > 0).all() else (np.nan, np.nan)
        rows.append(
            {
                "line": line, "model": facts.index[best], "value": found.values[best],
                "baseline": facts.index[baseline], "baseline_value": found.values[baseline],
                "gain": found.values[best] / found.values[baseline] - 1, "gain_ci_low": low, "gain_ci_high": high,
                "p_value": p_value(own - others),
            }
        )  # fmt: skip
    return rows


def _best(values: NDArray, candidates: NDArray[np.bool_]) -> int | None:
    """Return the number of the candidate that scores most."""
    numbers = np.flatnonzero(candidates & np.isfinite(values))
    return int(numbers[values[numbers].argmax()]) if len(numbers) else None


def scale_models(
    maps: Sequence[str | Path],
    *,
    models: str | Path,
    study: Mapping[str, Any],
    points: str | Path,
    trends: str | Path,
    bands: str | Path,
    gains: str | Path,
    thresholds: Thresholds = THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> None:
    """Write ``scaling.csv``, ``scaling_trends.csv``, ``scaling_bands.csv`` and ``scaling_gains.csv``.

    Each alignment is by itself.

    Parameters
    ----------
    maps
        Folders of maps, each with ``map.json``, ``pairs.parquet`` and, for simulated screens, ``probe.parquet``.
    models
        Folder of the models of the run.
    study
        The section of the configuration.
    points, trends, bands, gains
        Files to write.
    thresholds, replicates, seed
        As in :func:`scale`.
    """
    folders: dict[str, dict[str, Path]] = {}
    for folder in map(Path, maps):
        manifest = read_manifest(folder / "map.json", stage="maps")
        folders.setdefault(manifest["alignment"], {})[manifest["model"]] = folder
    tables = []
    for alignment, own in folders.items():
        facts = pd.DataFrame({name: training_facts(name, Path(models), study) for name in own}).T
        pairs, errors = (
            {
                name: read_scores(folder / f"{file}.parquet")
                for name, folder in own.items()
                if (folder / f"{file}.parquet").exists()
            }
            for file in ("pairs", "probe")
        )
        found = scale(facts, pairs, errors, thresholds=thresholds, replicates=replicates, seed=seed)
        tables.append([table.assign(alignment=alignment) for table in found])
    all_columns = (POINT_COLUMNS, TREND_COLUMNS, BAND_COLUMNS, GAIN_COLUMNS)
    files = (points, trends, bands, gains)
    for path, parts, columns in zip(files, zip(*tables, strict=True), all_columns, strict=True):
        write_csv(path, pd.concat(parts, ignore_index=True)[columns])
