"""Where a run's results lie, and the tables of several models and alignments put one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import cellmae.embeddings
from cellmae.files import read_json, read_manifest, require_intact
from cellmae.maps import read_scores
from cellmae.models import read_model
from cellmae.report.times import read_benchmarks
from cellmae.screen import read_wells


@dataclass(frozen=True)
class Results:
    """The folder of a run, and what it holds.

    Attributes
    ----------
    folder
        Results folder of the run.
    models, alignments
        Names in the configuration, in its order.
    plates
        Slugs of the plates.
    """

    folder: Path
    models: Sequence[str]
    alignments: Sequence[str]
    plates: Sequence[str]

    def aligned(self, model: str, alignment: str) -> Path:
        """Wells of the stage alignment."""
        return self.folder / "alignment" / model / f"{alignment}.h5ad"

    def map(self, model: str, alignment: str) -> Path:
        """Map of the stage maps."""
        return self.folder / "maps" / model / alignment / "map.h5ad"

    def model(self, model: str) -> Path:
        """Folder of a model."""
        return self.folder / "models" / model

    def reconstructions(self, model: str) -> Path:
        """Figure of what a trained model makes of masked crops."""
        return self.model(model) / "reconstructions.png"

    def tiles(self, plate: str) -> Path:
        """Tile table of a plate."""
        return self.folder / "tiles" / f"{plate}.parquet"

    def tiles_manifest(self, plate: str) -> Path:
        """Manifest of a plate's tiles."""
        return self.folder / "tiles" / f"{plate}.json"

    def stores(self) -> dict[str, Path]:
        """Return the tile store of every plate, which may have been retired."""
        return {plate: self.folder / "tiles" / f"{plate}.zarr" for plate in self.plates}

    def benchmarks(self) -> pd.DataFrame:
        """Return how long every job took."""
        return read_benchmarks(self.folder / "benchmarks")

    def summary(self) -> dict[str, Any]:
        """Return what the stage screen counted."""
        return read_json(self.folder / "screen" / "summary.json")

    def wells(self) -> dict[str, pd.DataFrame]:
        """Return the annotated wells of every plate."""
        return {plate: read_wells(self.folder / "screen" / f"{plate}.wells.parquet") for plate in self.plates}

    def recall(self) -> pd.DataFrame:
        """Return ``recall.csv`` of all maps, with ``model`` and ``alignment``."""
        return self._of_all_maps("recall.csv")

    def probe(self) -> pd.DataFrame:
        """Return ``probe.csv`` of all maps, with ``model`` and ``alignment``."""
        return self._of_all_maps("probe.csv")

    def replicates(self) -> pd.DataFrame:
        """Return ``replicates.csv`` of all maps, with ``model`` and ``alignment``."""
        return self._of_all_maps("replicates.csv")

    def comparison(self) -> pd.DataFrame:
        """Return ``comparison.csv``."""
        return read_scores(self.folder / "maps" / "comparison.csv")

    def points(self) -> pd.DataFrame:
        """Return ``scaling.csv`` of a study."""
        return read_scores(self.folder / "maps" / "scaling.csv")

    def trends(self) -> pd.DataFrame:
        """Return ``scaling_trends.csv`` of a study."""
        return read_scores(self.folder / "maps" / "scaling_trends.csv")

    def bands(self) -> pd.DataFrame:
        """Return ``scaling_bands.csv`` of a study."""
        return read_scores(self.folder / "maps" / "scaling_bands.csv")

    def gains(self) -> pd.DataFrame:
        """Return ``scaling_gains.csv`` of a study."""
        return read_scores(self.folder / "maps" / "scaling_gains.csv")

    def known_pairs(self, model: str, alignment: str) -> pd.DataFrame:
        """Return the known relationships within a map: ``source``, ``entity1``, ``entity2`` and their cosines."""
        return read_scores(self.map(model, alignment).with_name("pairs.parquet"))

    def sets(self, model: str, alignment: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the scores of known sets on a map, their enrichment, and the counts of its tests."""
        names = ("sets", "enrichment", "enrichment_counts")
        sets, enrichment, counts = (read_scores(self.map(model, alignment).with_name(f"{name}.csv")) for name in names)
        return sets, enrichment, counts

    def records(self, models: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return ``model.yaml`` of these models."""
        return {model: read_model(self.model(model)) for model in models}

    def histories(self, models: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Return ``history.csv`` of these models."""
        if not models:
            return {}
        from cellmae.pretraining import read_history  # brings torch, which a run without training does not need

        return {model: read_history(self.model(model) / "history.csv") for model in models}

    def blocks(self, models: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Return ``blocks.csv`` of these models."""
        tables = {model: self.model(model) / "blocks.csv" for model in models}
        for path in tables.values():
            require_intact(path, path.with_suffix(".json"), stage="embeddings", version=cellmae.embeddings.VERSION)
        return {model: pd.read_csv(path) for model, path in tables.items()}

    def fits(self) -> pd.DataFrame:
        """Return how each model's embeddings were aligned, and the wells that were kept and lost."""
        rows = []
        for model in self.models:
            for alignment in self.alignments:
                path = self.aligned(model, alignment)
                fit = read_manifest(path.with_suffix(".fit.json"), stage="alignment")
                applied = read_manifest(path.with_suffix(".json"), stage="alignment")
                rows.append(
                    {
                        "model": model,
                        "alignment": alignment,
                        "components": fit["components"],
                        "dimensions": fit["dimensions"],
                        "fit_plates": len(fit["fit_plates"]),
                        **applied["wells"],
                        "fit_digest": applied["fit_digest"],
                        "digest": applied["digest"],
                    }
                )
        return pd.DataFrame(rows)

    def _of_all_maps(self, name: str) -> pd.DataFrame:
        tables = []
        for model in self.models:
            for alignment in self.alignments:
                table = read_scores(self.map(model, alignment).with_name(name))
                table.insert(0, "model", model)
                table.insert(1, "alignment", alignment)
                tables.append(table)
        return pd.concat(tables, ignore_index=True)
