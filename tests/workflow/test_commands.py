"""What people type: targets, the summary, configurations."""

import subprocess
import sys

import pandas as pd
import pytest

from .checkout import PLATES

PARSE = """
import sys
from snakemake.cli import main
try:
    main(["--dry-run", "--quiet"])
except SystemExit as status:
    print(status.code, *{"torch", "scanpy", "anndata"} & set(sys.modules))
"""


@pytest.mark.slow
def test_the_summary_is_printed_every_time(fresh):
    first = fresh.run("screen")
    again = fresh.run("screen")
    assert "Summing up the screen" in first
    assert "Summing up the screen" not in again
    summary = (fresh.results / "screen" / "summary.txt").read_text()
    assert summary in first
    assert summary in again


@pytest.mark.slow
def test_a_simulated_screen_is_drawn_on_the_way(fresh):
    simulation = {"experiments": 1, "plates": 1, "genes": 4, "guides": 1, "rows": 2, "columns": 3, "size": 64}
    fresh.configure(
        screen={"layout": "simulated", "root": "drawn", "simulation": simulation},
        maps__relationships={"complexes": "drawn/relationships.csv"},
    )
    assert "6  4 treatment, 2 negative control" in fresh.run("screen")
    fields = pd.read_parquet(fresh.results / "screen" / "gene-001_Plate1.fields.parquet")
    assert all((fresh.folder / "drawn" / path).exists() for path in fields["path_golgi"])
    assert fresh.plan("simulate_truth") == {"Writing what the simulation knows of itself"}
    fresh.configure(screen__simulation=simulation | {"plates": 2})
    assert fresh.plan("screen") == {
        "Drawing the plate gene-001_Plate2",
        "Listing the images of gene-001_Plate2",
        "Annotating the wells of gene-001_Plate2",
        "Summing up the screen",
    }


def test_a_configfile_stands_alone(fresh):
    (fresh.folder / "other.yaml").write_text(
        "{results: other, screen: {layout: rxrx3, root: plates, channels: [a, b], controls: [EMPTY_control]}, "
        "tiles: {size: 32}, models: {only: {family: intensity}}}"
    )
    planned = fresh.plan("--configfile", "other.yaml", "--", "models")
    assert planned == {"Building only"}


def test_planning_imports_no_heavy_package(fresh):
    done = subprocess.run([sys.executable, "-c", PARSE], cwd=fresh.folder, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


TARGETS = {
    "tiles": {f"Tiling {plate}" for plate in PLATES},
    "models": {"Training mae", "Building intensity"},
    "embeddings": {f"Embedding {plate} with mae" for plate in PLATES},
    "alignment": {"Aligning mae by tvn", "Aligning intensity by tvn"},
    "maps": {"Comparing the models"},
    "report": {"Writing the report"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_stage_is_a_target(fresh, target):
    planned = fresh.plan("--", target)
    stages = list(TARGETS)
    later = stages[stages.index(target) + 1 :]
    assert TARGETS[target] <= planned
    assert not any(TARGETS[stage] & planned for stage in later)
