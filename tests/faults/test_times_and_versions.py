"""Clocks that go wrong, results that are copied, and results of another version of cellmae.

Touched results, plates that are added or removed and corrected wells are in tests/workflow/test_reruns.py.
"""

import json
import os
import random
import shutil
import time

import pytest

from cellmae import embeddings, tiles
from workflow.checkout import PLATES, Checkout

pytestmark = [pytest.mark.slow, pytest.mark.faults]
YEAR = 365 * 24 * 3600


@pytest.mark.parametrize("seed", range(3))
def test_results_of_clocks_that_went_forth_and_back_make_nothing_anew(finished, seed):
    clock = random.Random(seed)
    for path in sorted(finished.results.rglob("*")):
        moment = time.time() + clock.uniform(-YEAR, YEAR)
        os.utime(path, (moment, moment))
    assert finished.plan() == set()


def test_a_copy_without_its_times_makes_nothing_anew(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy", copy_function=shutil.copy)
    assert Checkout(tmp_path / "copy").plan() == set()


def test_copied_results_without_snakemakes_records_make_nothing_anew(finished, tmp_path):
    """Manifests are enough."""
    shutil.copytree(finished.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".snakemake"))
    assert Checkout(tmp_path / "copy").plan() == set()


@pytest.mark.parametrize(
    ("stage", "manifest", "current"),
    [
        ("tiles", f"tiles/{PLATES[0]}.json", tiles.VERSION),
        ("embeddings", f"embeddings/mae/{PLATES[0]}.json", embeddings.VERSION),
    ],
)
def test_results_of_a_newer_version_stop_the_run_before_anything_is_overwritten(finished, stage, manifest, current):
    for path in finished.results.glob(f"{manifest.rpartition('/')[0]}/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": current + 1}))
    with pytest.raises(SystemExit, match=rf"cellmae: results: .*{stage}.* newer than version {current} .*update"):
        finished.plan()
