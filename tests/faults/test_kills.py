"""Kill -9 of everything at random moments of each stage, and two runs at once: the results of an undisturbed run."""

import random
import signal
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from cellmae.files import remove
from workflow.checkout import PLATES, Checkout, results_of
from workflow.warm import Running

pytestmark = [pytest.mark.slow, pytest.mark.faults]

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
KILLS = 2  # a stage
START_SECONDS = 120
STAGES = {
    "screen": "screen/gene-001_Plate1.fields",
    "tiles": "tiles/gene-001_Plate1",
    "models": "models/mae",
    "embeddings": "embeddings/mae/gene-001_Plate1",
    "alignment": "alignment/mae/tvn.fit",
    "maps": "maps/mae/tvn.map",
    "report": "report/page",
}


def kill_and_rerun(checkout: Checkout, target: str, *, at: str) -> None:
    """Run a target, kill -9 everything at a file, and run it again."""
    killer = checkout.folder / "killer"
    killer.mkdir()
    (killer / "sitecustomize.py").write_text(KILLER)
    killed = checkout.snakemake("--", target, PYTHONPATH=str(killer), KILL_AT=at)
    assert killed.returncode == -9, killed.stderr
    checkout.run("--unlock")
    checkout.run("--", target)


def wait_for(condition: Callable[[], bool], run: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition() and not run.ended and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_twice_ends_as_if_undisturbed(finished, finished_run, stage):
    moments = random.Random(stage)
    log = finished.results / "logs" / f"{STAGES[stage]}.log"
    lasted = pd.read_csv(finished.results / "benchmarks" / f"{STAGES[stage]}.tsv", sep="\t")["s"].iloc[0]
    remove(finished.results / stage)
    killed = 0
    while killed < KILLS:
        remove(log)
        run = finished.start("--nolock", "--", stage)
        wait_for(log.exists, run)
        time.sleep(moments.uniform(0, lasted))
        if not run.ended:
            run.kill()
        done = run.wait()
        if done.returncode == -signal.SIGKILL:
            killed += 1
        else:  # it had ended before: once more, from the beginning
            assert done.returncode == 0, done.stderr
            remove(finished.results / stage)
    finished.run("--nolock", "--", stage)
    assert results_of(finished) == results_of(finished_run)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("tiles", f"{PLATES[0]}.zarr"),
        ("embeddings", f"{PLATES[0]}.json"),  # after the vectors
        ("alignment", "tvn.fit.h5"),
        ("maps", "map.h5ad"),
        ("report", "report"),
    ],
)
def test_a_writer_that_is_killed_between_write_and_rename(finished, finished_run, stage, file):
    remove(finished.results / stage)
    kill_and_rerun(finished, stage, at=file)
    assert results_of(finished) == results_of(finished_run)


def test_a_training_that_is_killed_between_write_and_rename(finished, finished_run):
    remove(finished.results / "models" / "mae")
    kill_and_rerun(finished, "models", at="*-000000011.pt")
    assert "training goes on after step 10 of 20" in (finished.results / "logs/models/mae.log").read_text()
    assert results_of(finished) == results_of(finished_run)
    histories = [folder / "results/models/mae/history.csv" for folder in (finished.folder, finished_run)]
    np.testing.assert_array_equal(*(pd.read_csv(history)["loss"] for history in histories))


def test_a_second_run_on_the_same_folder_is_refused_and_disturbs_nothing(finished, finished_run):
    remove(finished.results / "maps")
    locks = finished.folder / ".snakemake" / "locks"
    first = finished.start("--", "maps")
    wait_for(lambda: locks.is_dir() and any(locks.iterdir()), first)
    second = finished.snakemake("--", "maps")
    assert second.returncode != 0
    assert "locked" in second.stdout + second.stderr
    done = first.wait()
    assert done.returncode == 0, done.stderr
    assert results_of(finished) == results_of(finished_run)
