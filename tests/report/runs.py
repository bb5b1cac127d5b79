"""Makes small finished runs to report on: invented wells and images, scored by the stages themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from anndata import AnnData
from PIL import Image

from cellmae.alignment import align_plates, fit_plates
from cellmae.files import write_json, write_manifest
from cellmae.maps import (
    build_map,
    compare_models,
    score_enrichment,
    score_probe,
    score_recall,
    score_replicates,
    score_sets,
)
from cellmae.report import write_report
from cellmae.screen import summarise

PLATES = ("exp-1_Plate1", "exp-2_Plate1")
COMPLEXES, MEMBERS, GUIDES = 10, 3, 2
SCRIPT = "<script>alert(1)</script>"
DOLLARS = "$A_1$"
MODELS: dict[str, dict[str, Any]] = {
    "mae-tiny": {"family": "mae", "size": "tiny", "patch": 8, "seed": 0},
    "intensity": {"family": "intensity"},
}
ALIGNMENTS: dict[str, dict[str, Any]] = {"tvn": {"method": "tvn", "pca": 8}, "none": {"method": "none", "pca": 8}}
REPLICATES = 60


def gene_names() -> list[str]:
    names = [f"G{number:02d}" for number in range(COMPLEXES * MEMBERS)]
    names[0], names[1] = SCRIPT, DOLLARS
    return names


def well_table(plate: str, genes: list[str]) -> pd.DataFrame:
    """Two guides a gene, and controls in all other wells of a plate of 96."""
    names = [gene for gene in genes for _ in range(GUIDES)] + ["control"] * (96 - GUIDES * len(genes))
    guides = [f"{gene}_guide_{guide}" for gene in genes for guide in range(GUIDES)]
    rows, columns = np.divmod(np.arange(96), 12)
    return pd.DataFrame(
        {
            "plate": plate,
            "plate_name": plate.split("_")[1],
            "batch": plate.split("_")[0],
            "well": [f"{chr(65 + row)}{column + 1:02d}" for row, column in zip(rows, columns, strict=True)],
            "row": rows + 1,
            "column": columns + 1,
            "perturbation": names,
            "treatment": guides + ["control"] * (96 - len(guides)),
            "role": ["negative_control" if name == "control" else "treatment" for name in names],
        }
    )


def true_phenotypes(genes: list[str]) -> pd.DataFrame:
    """A direction a complex, from which its members stray a little."""
    complexes = np.repeat(np.eye(COMPLEXES), MEMBERS, axis=0)[: len(genes)]
    complexes += np.random.default_rng(0).normal(scale=0.2, size=complexes.shape)
    rows = [
        {"treatment": f"{gene}_guide_{guide}", "perturbation": gene}
        | {f"phenotype_{number}": value for number, value in enumerate(phenotype)}
        for gene, phenotype in zip(genes, complexes, strict=True)
        for guide in range(GUIDES)
    ]
    return pd.DataFrame(rows).set_index("treatment")


def embed(wells: pd.DataFrame, truth: pd.DataFrame, *, strength: float, seed: int) -> AnnData:
    """Embeddings that hold the true phenotypes at some strength, and a batch effect."""
    rng = np.random.default_rng([seed, len(wells["batch"].iloc[0]), int(wells["batch"].iloc[0][-1])])
    phenotypes = truth.drop(columns="perturbation").reindex(wells["treatment"], fill_value=0.0).to_numpy()
    X = rng.normal(size=(len(wells), 12)) + 3 * rng.normal(size=12)
    X[:, :COMPLEXES] += strength * phenotypes
    obs = wells[["plate", "plate_name", "batch", "well", "row", "column"]].set_index(
        wells["plate"] + "_" + wells["well"]
    )
    adata = AnnData(X.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"f{number}" for number in range(12)]))
    adata.uns["cellmae"] = {"stage": "embeddings", "version": 1, "model": str(strength), "weights_digest": "abc"}
    return adata


def write_tiles(folder: Path, wells: pd.DataFrame) -> None:
    """Four tiles a well; the tiles of B02 rejected, the only field of C03 lost."""
    plate = wells["plate"].iloc[0]
    lost = wells["well"] == "C03"
    tiles = wells.loc[~lost, ["plate", "well"]].loc[lambda table: table.index.repeat(4)].reset_index(drop=True)
    tiles = tiles.assign(site=1, field=np.repeat(np.arange(95), 4), y=0, x=0, keep=tiles["well"] != "B02")
    tiles["reason"] = np.where(tiles["keep"], "", "no contrast in nuclei")
    measures = np.random.default_rng(0).random((4, len(tiles)), dtype=np.float32)
    tiles = tiles.assign(**dict(zip(["mean_nuclei", "focus_nuclei", "saturated", "foreground"], measures, strict=True)))
    row = {
        "plate": plate,
        "well": "C03",
        "site": 1,
        "field": -1,
        "y": -1,
        "x": -1,
        "keep": False,
        "reason": "truncated",
    }
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat([tiles, pd.DataFrame([row])]).to_parquet(folder / f"{plate}.parquet", index=False)
    write_manifest(
        folder / f"{plate}.json",
        stage="tiles",
        version=1,
        digest="0",
        plate=plate,
        fields=95,
        tiles=380,
        kept=376,
        rejected={"no contrast in nuclei": 4},
        dropped=[{"well": "C03", "site": 1, "reason": "nuclei: truncated"}],
    )


def write_models(folder: Path) -> None:
    for name, spec in MODELS.items():
        (folder / name).mkdir(parents=True)
        trained = name == "mae-tiny"
        record = {
            "stage": "models",
            "version": 1,
            "family": spec["family"],
            "spec": spec,
            "plates": list(PLATES) if trained else [],
            "weights_digest": "0123456789abcdef" if trained else None,
            "dim": 12,
            "parameters": 1_234_567 if trained else 0,
        }
        (folder / name / "model.yaml").write_text(yaml.safe_dump(record))
    steps = np.arange(1, 41)
    history = pd.DataFrame({"step": 10 * steps, "crops": 480 * steps, "learning_rate": 1e-3})
    history["mse"] = 0.4 + 0.6 * np.exp(-steps / 10)
    history = history.assign(mse_zero=1.0, mse_visible_mean=0.9, fourier=8 * history["mse"], gradient_norm=1.0)
    history["loss"] = 0.99 * history["mse"] + 0.01 * history["fourier"]
    history = history.assign(masked_r2=1 - history["mse"], skipped=0, crops_per_second=440.0, data_wait=0.01)
    history.to_csv(folder / "mae-tiny" / "history.csv", index=False)
    picture = np.random.default_rng(0).integers(0, 255, (120, 360, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "mae-tiny" / "reconstructions.png")


def finish_run(results: Path, *, genes: list[str]) -> Path:
    """Write what all stages before the report leave behind."""
    truth = true_phenotypes(genes)
    wells = {plate: well_table(plate, genes) for plate in PLATES}
    (results / "screen").mkdir(parents=True)
    truth.to_parquet(results / "screen" / "truth.parquet")
    pairs = [
        (genes[first], genes[second], "x")
        for first in range(len(genes))
        for second in range(first)
        if first // MEMBERS == second // MEMBERS
    ]
    pd.DataFrame(pairs, columns=["entity1", "entity2", "ignored"]).iloc[:, :2].to_csv(
        results / "screen" / "relationships.csv", index=False
    )
    for plate, table in wells.items():
        table.to_parquet(results / "screen" / f"{plate}.wells.parquet")
        write_tiles(results / "tiles", table)
    every_well = pd.concat(wells.values(), ignore_index=True)
    fields = every_well[["plate", "well"]].assign(path_nuclei="a.png", size=1)
    write_json(results / "screen" / "summary.json", summarise(fields, every_well).as_json())
    write_models(results / "models")
    for seed, (model, strength) in enumerate(zip(MODELS, (6.0, 0.5), strict=True)):
        embeddings = []
        for plate, table in wells.items():
            embeddings.append(results / "embeddings" / model / f"{plate}.h5ad")
            embeddings[-1].parent.mkdir(parents=True, exist_ok=True)
            embed(table, truth, strength=strength, seed=seed).write_h5ad(embeddings[-1])
        for alignment, options in ALIGNMENTS.items():
            align_and_score(results, model, alignment, options, embeddings)
    folders = [results / "maps" / model / alignment for model in MODELS for alignment in ALIGNMENTS]
    compare_models(folders, output=results / "maps" / "comparison.csv", replicates=REPLICATES)
    return results


def align_and_score(results: Path, model: str, alignment: str, options: dict[str, Any], embeddings: list[Path]) -> None:
    folder = results / "alignment" / model
    wells = [results / "screen" / f"{plate}.wells.parquet" for plate in PLATES]
    fit, aligned = folder / f"{alignment}.fit.h5", folder / f"{alignment}.h5ad"
    fit_plates(embeddings, wells, fit=fit, manifest=folder / f"{alignment}.fit.json", **options)
    align_plates(embeddings, wells, fit=fit, output=aligned, manifest=folder / f"{alignment}.json")
    maps = results / "maps" / model / alignment
    build_map(
        aligned,
        model=model,
        alignment=alignment,
        treatments=maps / "treatments.h5ad",
        output=maps / "map.h5ad",
        manifest=maps / "map.json",
    )
    score_replicates(
        aligned,
        maps / "map.h5ad",
        maps / "treatments.h5ad",
        output=maps / "replicates.csv",
        proximity=maps / "proximity.csv",
        compounds=maps / "compounds.csv",
        replicates=REPLICATES,
    )
    truth = results / "screen" / "truth.parquet"
    score_recall(
        maps / "map.h5ad",
        {"complexes": results / "screen" / "relationships.csv"},
        output=maps / "recall.csv",
        pairs=maps / "pairs.parquet",
        replicates=REPLICATES,
        truth=truth,
    )
    known = {"complexes": results / "screen" / "relationships.csv"}
    score_sets(maps / "map.h5ad", known, pairs=maps / "pairs.parquet", output=maps / "sets.csv")
    outputs = {"output": maps / "enrichment.csv", "counts": maps / "enrichment_counts.csv"}
    score_enrichment(maps / "map.h5ad", known, **outputs)
    score_probe(aligned, truth, output=maps / "probe.csv", genes=maps / "probe.parquet", replicates=REPLICATES)


def report_on(results: Path, **changes: Any) -> Path:
    """Write the report of a finished run and return its folder."""
    options: dict[str, Any] = {
        "output": results / "report",
        "title": "Two plates & a map",
        "config": {"results": str(results), "models": MODELS, "alignments": ALIGNMENTS},
        "plates": PLATES,
        "models": MODELS,
        "alignments": ALIGNMENTS,
        "images": True,
        "truth": True,
    }
    options |= changes
    write_report(results, **options)
    return Path(options["output"])
