"""What was run: the screen, the models, the alignments, and the configuration that says it all."""

import contextlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import pandas as pd
import yaml

from cellmae.report.blocks import Block, Listing, Points, Section, Table
from cellmae.report.times import times_tables
from cellmae.report.words import capitalised, listed

SHORT_DIGEST = 12
PACKAGES = ("torch", "timm", "dask", "zarr", "numpy", "scikit-learn", "anndata", "scanpy")
HIDDEN_KEYS = ("family", "plates", "refit")


def facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers of a screen that head the page, from ``screen/summary.json``."""
    numbers = [
        ("plates", summary["plates"]),
        ("batches", len(summary["controls"])),
        ("wells", summary["wells"]),
        ("fields", summary["fields"]),
        ("perturbations", summary["perturbations"]),
        ("control wells", summary["roles"]["negative_control"]),
    ]
    return [(name.capitalize(), f"{number:,}") for name, number in numbers if name != "fields" or number]


def settings(spec: Mapping[str, Any]) -> str:
    """Return the keys of a model or an alignment as one line."""
    return ", ".join(f"{key} {value}" for key, value in spec.items() if key not in HIDDEN_KEYS and value is not None)


def run_section(
    *,
    summary: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    alignments: Mapping[str, Mapping[str, Any]],
    fits: pd.DataFrame,
    benchmarks: pd.DataFrame,
    config: Mapping[str, Any],
    version: str,
    digest: str,
) -> Section:
    """Say what was run.

    Parameters
    ----------
    summary
        ``screen/summary.json``.
    models, alignments
        Their sections of the configuration.
    records
        ``model.yaml`` of the models that have one.
    fits
        A row a model and alignment, as :meth:`cellmae.report.Results.fits` returns it.
    benchmarks
        A row a job, as :meth:`cellmae.report.Results.benchmarks` returns it.
    config
        The whole configuration, to be read at the end of the page.
    version, digest
        Version of cellmae; digest of the configuration.
    """
    provenance = [f"cellmae {version}, configuration {digest}.", f"Written with {listed(_versions())}."]
    blocks: list[Block] = [
        Points([*provenance, *(f"{capitalised(note)}." for note in summary["notes"])]),
        _screen_table(summary),
        _models_table(models, records),
        _fits_table(fits, alignments),
        *times_tables(benchmarks),
        Listing("The configuration, with its defaults", yaml.safe_dump(_plain(config), sort_keys=False, width=100)),
    ]
    return Section("run", "What was run", blocks)


def _versions() -> list[str]:
    """Return the versions of Python and of the packages that results depend on most, those that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return found


def _plain(value: Any) -> Any:
    """Return nested mappings and sequences as dicts and lists, which YAML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _screen_table(summary: Mapping[str, Any]) -> Table:
    controls = summary["controls"]
    frame = pd.DataFrame(
        [
            {
                "batch": batch,
                "negative_controls": counts["negative_control"],
                "positive_controls": counts["positive_control"],
            }
            for batch, counts in controls.items()
        ]
    )
    shown = frame.rename(columns=lambda name: name.replace("_", " ").capitalize())
    missing = {channel: count for channel, count in summary["missing_files"].items() if count}
    said = [
        f"{summary['treatments']:,} treatments of {summary['perturbations']:,} perturbations",
        f"{summary['wells_without_images']:,} annotated wells without images",
        f"{summary['wells_without_annotation']:,} wells with images and no annotation",
    ]
    if missing:
        said.append("missing image files: " + listed([f"{count:,} of {channel}" for channel, count in missing.items()]))
    caption = f"Control wells by batch. The screen: {'; '.join(said)}."
    return Table("screen", frame, shown, caption, dict.fromkeys(shown.columns[1:], "{:,}"))


def _models_table(models: Mapping[str, Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        {
            "model": name,
            "family": spec["family"],
            "dimensions": records.get(name, {}).get("dim"),
            "parameters": records.get(name, {}).get("parameters"),
            "trained_on_plates": len(records.get(name, {}).get("plates", ())),
            "weights_digest": records.get(name, {}).get("weights_digest"),
            "settings": settings(spec),
        }
        for name, spec in models.items()
    ]
    frame = pd.DataFrame(rows)
    shown = frame.rename(columns=lambda name: name.replace("_", " ").capitalize())
    shown["Weights digest"] = [digest and digest[:SHORT_DIGEST] for digest in frame["weights_digest"]]
    formats = {"Dimensions": "{:,.0f}", "Parameters": "{:,.0f}", "Trained on plates": "{:,}"}
    return Table("models", frame, shown, "The models.", formats)


def _fits_table(fits: pd.DataFrame, alignments: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = pd.DataFrame(
        {
            "Model": fits["model"],
            "Alignment": fits["alignment"],
            "Settings": [settings(alignments[name]) for name in fits["alignment"]],
            "Components": fits["components"],
            "Fitted on plates": fits["fit_plates"],
            "Wells": fits["kept"],
            "Lost: not embedded": fits["not_embedded"],
            "Lost: not finite": fits["not_finite"],
            "Lost: unannotated": fits["unannotated"],
        }
    )
    formats = dict.fromkeys(shown.columns[3:], "{:,.0f}")
    caption = (
        "The alignments of each model, and the wells that they hold: a well is lost when it has no embedding (no tile "
        "was kept), an embedding that is not finite, or no annotation."
    )
    return Table("alignments", fits, shown, caption, formats)
