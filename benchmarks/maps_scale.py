"""Alignment and aggregation at genome scale: plates on disk in, a map out, with time and peak memory of each stage.

2.2 million wells x 1,024 features by default, the size of RxRx3 (9 GB, and as much again for the aligned wells). Plates
are drawn once into the folder and used again by later runs; `--wells 200000` is a quick trial. Each stage runs in a
process of its own, whose largest resident memory is the stage's.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from cellmae.alignment import align_plates, fit_plates
from cellmae.maps import build_map
from processes import cost_of

WELLS_ON_A_PLATE = 1100
PLATES_IN_A_BATCH = 12
CONTROL_SHARE = 0.2
GENES = 17_000
GUIDES = 4
DIRECTIONS = 50


class Screen:
    """Plates whose wells are the same noise, shuffled, with effects of genes and of batches upon it."""

    def __init__(self, folder: Path, *, wells: int, features: int) -> None:
        self.folder, self.features = folder, features
        self.plates = [f"plate{number:04d}" for number in range(-(-wells // WELLS_ON_A_PLATE))]
        self.generator = np.random.default_rng(0)
        spectrum = np.exp(-np.arange(features) / (features / 5))
        self.noise = self._normal(WELLS_ON_A_PLATE, features) * spectrum.astype(np.float32)
        self.effects = self._normal(GENES, DIRECTIONS) @ self._normal(DIRECTIONS, features) / 20
        self.effects = np.vstack([self.effects, np.zeros((1, features), np.float32)])

    def _normal(self, *shape: int) -> np.ndarray:
        return self.generator.standard_normal(shape, dtype=np.float32)

    def embeddings(self, plate: str) -> Path:
        return self.folder / f"{plate}.h5ad"

    def wells(self, plate: str) -> Path:
        return self.folder / f"{plate}.wells.parquet"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, plate in enumerate(self.plates):
            if number % PLATES_IN_A_BATCH == 0:
                shift, stretch = self._normal(self.features), np.exp(0.1 * self._normal(self.features))
            X, obs = self._draw(plate, f"batch{number // PLATES_IN_A_BATCH:03d}")
            if not self.wells(plate).exists():
                facts = {"stage": "embeddings", "model": "synthetic", "weights_digest": "none"}
                own = obs[["plate", "well", "row", "column"]].set_axis(obs["plate"] + "_" + obs["well"])
                AnnData(X * stretch + shift, obs=own, uns={"cellmae": facts}).write_h5ad(self.embeddings(plate))
                obs.to_parquet(self.wells(plate))

    def _draw(self, plate: str, batch: str) -> tuple[np.ndarray, pd.DataFrame]:
        places = np.arange(WELLS_ON_A_PLATE)
        genes = self.generator.integers(0, GENES, WELLS_ON_A_PLATE)
        genes[: round(CONTROL_SHARE * WELLS_ON_A_PLATE)] = GENES
        guides = self.generator.integers(0, GUIDES, WELLS_ON_A_PLATE)
        names = pd.Series(np.where(genes < GENES, [f"gene{gene}" for gene in genes], "control"))
        obs = pd.DataFrame({"plate": plate, "batch": batch, "row": places // 48 + 1, "column": places % 48 + 1})
        obs["well"] = [f"{row:02d}{column:02d}" for row, column in zip(obs["row"], obs["column"], strict=True)]
        obs["perturbation"] = names
        obs["treatment"] = names + "_" + pd.Series(guides).astype(str)
        obs["role"] = np.where(genes < GENES, "treatment", "negative_control")
        return self.noise[self.generator.permutation(WELLS_ON_A_PLATE)] + self.effects[genes], obs


def stages(screen: Screen, method: str, pca: int) -> dict[str, Callable[[], None]]:
    """Return what is done, by name, with the package's own functions and files."""
    embeddings = [screen.embeddings(plate) for plate in screen.plates]
    wells = [screen.wells(plate) for plate in screen.plates]
    out = screen.folder / "out"
    fit = out / f"{method}.fit.h5"
    aligned = out / f"{method}.h5ad"

    def fitting() -> None:
        fit_plates(embeddings, wells, fit=fit, manifest=fit.with_suffix(".json"), method=method, pca=pca)

    def aligning() -> None:
        align_plates(embeddings, wells, fit=fit, output=aligned, manifest=aligned.with_suffix(".json"))

    def mapping() -> None:
        build_map(
            aligned,
            model="synthetic",
            alignment=method,
            treatments=out / "treatments.h5ad",
            output=out / "map.h5ad",
            manifest=out / "map.json",
        )

    return {"fit": fitting, "align": aligning, "aggregate": mapping}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where plates, alignment and map are written")
    parser.add_argument("--wells", type=int, default=2_200_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--method", default="tvn")
    parser.add_argument("--pca", type=int, default=128)
    parser.add_argument("--stages", nargs="+", default=["fit", "align", "aggregate"])
    return parser.parse_args()


def main() -> None:
    args = parse()
    screen = Screen(args.folder, wells=args.wells, features=args.features)
    screen.write()
    print(f"{len(screen.plates)} plates, {len(screen.plates) * WELLS_ON_A_PLATE} wells x {args.features}")
    work = stages(screen, args.method, args.pca)
    for name in args.stages:
        cost = cost_of(work[name])
        print(f"{name:<10} {cost.wall:7.1f} s  {cost.cpu:7.1f} CPU-s  {cost.memory:5.2f} GB", flush=True)


if __name__ == "__main__":
    main()
