"""Killed in the middle of a stage, or run twice: the same result in the end."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellmae.files import digest_file, remove

from .checkout import LATER_PLATE, PLATES, Checkout, plates_of

pytestmark = pytest.mark.slow

KILLER = '''
"""Kills the workflow, jobs and all, when a file of a certain name has been written and is about to be renamed."""

import contextlib, fnmatch, os, signal
from pathlib import Path

import cellmae.files

whole = cellmae.files.atomic_path

@contextlib.contextmanager
def deadly(path):
    with whole(path) as partial:
        yield partial
        if fnmatch.fnmatch(Path(path).name, os.environ["KILL_AT"]):
            os.killpg(os.getpgrp(), signal.SIGKILL)

cellmae.files.atomic_path = deadly
'''


def kill_and_rerun(checkout: Checkout, target: str, *, at: str) -> None:
    """Run a target, kill -9 everything at a file, and run it again."""
    killer = checkout.folder / "killer"
    killer.mkdir()
    (killer / "sitecustomize.py").write_text(KILLER)
    killed = checkout.snakemake("--", target, PYTHONPATH=str(killer), KILL_AT=at)
    assert killed.returncode == -9, killed.stderr
    checkout.run("--unlock")
    checkout.run("--", target)


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files but those that tell of times."""
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "history.csv" and path.suffix not in (".pt", ".h5ad", ".partial")
    }


def test_killed_in_tiling(finished, finished_run):
    remove(finished.results / "tiles")
    kill_and_rerun(finished, "tiles", at=f"{PLATES[0]}.zarr")
    assert digests(finished.results / "tiles") == digests(finished_run / "results" / "tiles")


def test_killed_in_training(finished, finished_run):
    model = finished.results / "models" / "mae"
    remove(model)
    kill_and_rerun(finished, "models", at="*-000000011.pt")
    assert "training goes on after step 10 of 20" in (finished.results / "logs/models/mae.log").read_text()
    undisturbed = finished_run / "results" / "models" / "mae"
    assert digests(model) == digests(undisturbed)
    losses = [pd.read_csv(folder / "history.csv")["loss"] for folder in (model, undisturbed)]
    np.testing.assert_array_equal(*losses)


def test_killed_in_embedding(finished, finished_run):
    embeddings = finished.results / "embeddings" / "mae"
    remove(embeddings)
    kill_and_rerun(finished, "embeddings", at=f"{PLATES[0]}.json")  # after the vectors
    assert digests(embeddings) == digests(finished_run / "results" / "embeddings" / "mae")


def test_the_same_configuration_gives_the_same_map_twice(fresh, finished_run):
    fresh.run("--", "maps")
    for model in ("mae", "intensity"):
        place = Path("results", "maps", model, "tvn")
        once, twice = (anndata.read_h5ad(folder / place / "map.h5ad") for folder in (finished_run, fresh.folder))
        np.testing.assert_array_equal(once.X, twice.X)
        pd.testing.assert_frame_equal(once.obs, twice.obs)
        assert digest_file(finished_run / place / "recall.csv") == digest_file(fresh.folder / place / "recall.csv")


def test_a_plate_that_is_added_and_one_that_is_removed(finished):
    weights = digest_file(finished.results / "models/mae/encoder.safetensors")
    fit = digest_file(finished.results / "alignment/mae/tvn.fit.h5")
    finished.annotate(plates_of([*PLATES, LATER_PLATE]))
    finished.run("--", "alignment")
    assert aligned_plates(finished) == sorted([*PLATES, LATER_PLATE])
    assert digest_file(finished.results / "models/mae/encoder.safetensors") == weights
    assert digest_file(finished.results / "alignment/mae/tvn.fit.h5") == fit

    # The removed plate keeps its old vectors when the model is trained anew without it.
    finished.annotate(plates_of([PLATES[0], LATER_PLATE]))
    finished.configure(models__mae__refit=True)
    finished.run("--", "alignment")
    assert aligned_plates(finished) == sorted([PLATES[0], LATER_PLATE])
    assert json.loads((finished.results / "alignment/mae/tvn.fit.json").read_text())["fit_plates"] == PLATES[:1]
    assert finished.plan("--", "alignment") == set()


def aligned_plates(checkout: Checkout) -> list[str]:
    return json.loads((checkout.results / "alignment/mae/tvn.json").read_text())["plates"]
