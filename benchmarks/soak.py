"""Endurance: planning 2,000 plates, running 100, training 20,000 steps; fails past the limits and prints figures.

    python benchmarks/soak.py [planning] [plates] [training]

Run by `make soak`, with the fuzzer of tests/fuzzing for an hour.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CHANNELS = ["nuclei", "er", "actin", "rna", "mitochondria", "golgi"]
WELLS = [f"{chr(ord('A') + row)}{column:02d}" for row in range(16) for column in range(1, 25)]
PLANNED_PLATES, RUN_PLATES, STEPS = 2000, 100, 20_000
MAX_PLANNING_SECONDS, MAX_PLANNING_BYTES = 60, 2 * 2**30
MAX_GROWTH_BYTES = 64 * 2**20  # of a training's memory after its first tenth

TRAINING = """
import json, sys
from cellmae.pretraining import pretrain
from cellmae.pretraining.trainer import Trainer
arguments = json.loads(sys.argv[1])
step = Trainer.take_step
def told(self, *batch):
    step(self, *batch)
    if self.step % 500 == 0:
        print(self.step, flush=True)
Trainer.take_step = told
pretrain(arguments.pop("spec"), **arguments)
"""


def checkout(folder: Path) -> None:
    """Copy the workflow."""
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)


def configure(folder: Path, screen: dict, models: dict, **sections: dict) -> None:
    """Write a configuration of a screen and some models."""
    config = {"results": "results", "screen": screen, "tiles": {"size": 32}, "models": models, **sections}
    config["alignments"] = {"tvn": {"method": "tvn", "pca": 8}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def snakemake(folder: Path, *arguments: str) -> tuple[float, int]:
    """Run snakemake; return seconds, and the most memory in bytes that any process of it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", "snakemake", *arguments]
    with (folder / "said.txt").open("w") as said:
        done = subprocess.run(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit((folder / "said.txt").read_text()[-3000:])
    return time.monotonic() - start, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def plan_thousands(folder: Path) -> str:
    """Dry-run a screen of 2,000 plates of 384 wells and three models."""
    checkout(folder)
    tables = []
    for number in range(PLANNED_PLATES):
        experiment, plate = f"gene-{number // 10 + 1:03d}", number % 10 + 1
        images = folder / "plates" / "images" / experiment / f"Plate{plate}"
        images.mkdir(parents=True)
        (images / "A01_s1_w1.png").touch()
        genes = np.where(np.arange(len(WELLS)) % 10, [f"G{well}" for well in WELLS], "EMPTY_control")
        tables.append(
            pd.DataFrame({"experiment_name": experiment, "plate": plate, "address": WELLS, "gene": genes}).assign(
                well_id=lambda t: t["experiment_name"] + f"_{t['plate'].iloc[0]}_" + t["address"],
                treatment=genes,
            )
        )
    pd.concat(tables).to_csv(folder / "plates" / "metadata.csv", index=False)
    (folder / "pairs.csv").write_text("entity1,entity2\nGA02,GA03\n")
    screen = {"layout": "rxrx3", "root": "plates", "channels": CHANNELS, "controls": ["EMPTY_control"]}
    models = {
        "mae": {"family": "mae", "patch": 8},
        "classifier": {"family": "classifier", "architecture": "vit", "patch": 8},
        "intensity": {"family": "intensity"},
    }
    configure(folder, screen, models, maps={"relationships": {"pairs": "pairs.csv"}})
    first, _ = snakemake(folder, "--dry-run", "--quiet")
    second, memory = snakemake(folder, "--dry-run", "--quiet")
    if max(first, second) > MAX_PLANNING_SECONDS or memory > MAX_PLANNING_BYTES:
        raise SystemExit(f"planning took {first:.0f} s, then {second:.0f} s, and {memory / 1e9:.2f} GB")
    return f"{first:.0f} s at first, {second:.0f} s again, {memory / 1e9:.2f} GB"


def run_hundred(folder: Path) -> str:
    """Run a simulated screen of 100 tiny plates to the end."""
    checkout(folder)
    simulation = {
        "experiments": 10, "plates": 10, "genes": 24, "guides": 1, "rows": 5, "columns": 6, "control_share": 0.2,
        "fields": 1, "size": 64,
    }  # fmt: skip
    models = {"mae": {"family": "mae", "patch": 8, "crops_total": 640, "batch_size": 32, "optimizer": "adamw"}}
    screen = {"layout": "simulated", "root": "drawn", "simulation": simulation}
    maps = {"relationships": {"complexes": "drawn/relationships.csv"}, "bootstrap": 20}
    configure(folder, screen, models, maps=maps)
    took, memory = snakemake(folder, "--cores", "2")
    assert (folder / "results/report/index.html").exists()
    again, _ = snakemake(folder, "--dry-run")
    assert "Nothing to be done" in (folder / "said.txt").read_text()
    return f"{took / 60:.0f} minutes on 2 cores, largest process {memory / 1e9:.2f} GB; planning anew {again:.0f} s"


def train_long(folder: Path) -> str:
    """Take 20,000 tiny steps and look at the memory of the process meanwhile."""
    from plates import tile_noise

    (folder / "plate").mkdir()
    plate = tile_noise(folder / "plate", fields=8, edge=64, crop_size=16, threads=1, channels=("a", "b"))
    spec = {
        "family": "mae", "size": "tiny", "patch": 8, "crops_total": 4 * STEPS, "batch_size": 4, "optimizer": "adamw",
        "checkpoint_minutes": 1,
    }  # fmt: skip
    arguments = {
        "spec": complete(spec), "tiles": [str(plate.store.with_suffix(".json"))], "channels": ["a", "b"],
        "crop_size": 16, "folder": str(folder / "model"), "threads": 1, "device": "cpu",
    }  # fmt: skip
    command = [sys.executable, "-c", TRAINING, json.dumps(arguments)]
    used = []
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            used.append(psutil.Process(process.pid).memory_info().rss)
    if process.returncode:
        raise SystemExit("the training failed")
    took = time.monotonic() - start
    settled = used[len(used) // 10 :]
    growth = settled[-1] - settled[0]
    if growth > MAX_GROWTH_BYTES:
        raise SystemExit(f"memory grew by {growth / 1e6:.0f} MB: {[f'{each / 1e6:.0f}' for each in used]}")
    return (
        f"{took / 60:.0f} minutes, {settled[0] / 1e6:.0f} MB after a tenth of the steps, {settled[-1] / 1e6:.0f} MB at "
        f"the end, {max(used) / 1e6:.0f} MB at most"
    )


def complete(spec: dict) -> dict:
    """Fill in a model's defaults."""
    from cellmae.config import validate

    screen = {"layout": "simulated", "root": "drawn"}
    config = {"results": "results", "screen": screen, "tiles": {"size": 16}, "models": {"mae": spec}}
    schema = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
    other = ("plates", "refit", "validation_plates", "gpus", "nodes")
    return {key: value for key, value in validate(config, schema)["models"]["mae"].items() if key not in other}


TASKS: dict[str, Callable[[Path], str]] = {"planning": plan_thousands, "plates": run_hundred, "training": train_long}


if __name__ == "__main__":
    for name in sys.argv[1:] or TASKS:
        with tempfile.TemporaryDirectory() as place:
            print(f"{name}: {TASKS[name](Path(place))}", flush=True)
