"""What a change makes anew, job by job: its stage and what follows, nothing before it, nothing that was fitted."""

import json
import os
from importlib import import_module
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellmae.files import digest_file

from .checkout import LATER_PLATE, PLATES, Checkout, plates_of

pytestmark = pytest.mark.slow
MODELS = ["mae", "intensity"]


def listing(plates=PLATES):
    return {f"Listing the images of {plate}" for plate in plates}


def annotating(plates=PLATES):
    return {f"Annotating the wells of {plate}" for plate in plates}


def tiling(plates=PLATES):
    return {f"Tiling {plate}" for plate in plates}


def embedding(models=MODELS, plates=PLATES):
    return {f"Embedding {plate} with {model}" for plate in plates for model in models}


def fitting(models=MODELS):
    return {f"Fitting the alignment tvn on {model}" for model in models}


def aligning(models=MODELS):
    return {f"Aligning {model} by tvn" for model in models}


def scoring(models=MODELS):
    scored = ("recall of", "sets on", "replicates of")
    scores = {f"Scoring the {what} {model}, aligned by tvn" for what in scored for model in models}
    return scores | {"Comparing the models"}


def mapping(models=MODELS):
    return {f"Mapping {model}, aligned by tvn" for model in models} | scoring(models)


SUMMING_UP, TRAINING, BASELINE = {"Summing up the screen"}, {"Training mae"}, {"Building intensity"}
REPORT = {"Writing the report"}
FROM_MAPS = mapping() | REPORT
FROM_ALIGNMENT = fitting() | aligning() | FROM_MAPS
FROM_EMBEDDINGS = embedding() | FROM_ALIGNMENT
FROM_MAE = embedding(["mae"]) | fitting(["mae"]) | aligning(["mae"]) | mapping(["mae"]) | REPORT
FROM_TILES = tiling() | TRAINING | FROM_EMBEDDINGS
FROM_SCREEN = listing() | annotating() | SUMMING_UP | FROM_TILES


def test_a_fresh_checkout_makes_everything(fresh):
    assert fresh.plan() == FROM_SCREEN | BASELINE


def test_a_finished_run_makes_nothing(finished):
    assert finished.plan() == set()


@pytest.mark.parametrize(
    ("key", "value", "jobs"),
    [
        ("screen__batch", "plate", FROM_SCREEN),
        ("screen__positive_controls", ["PSMA1"], annotating() | SUMMING_UP | FROM_ALIGNMENT),
        ("tiles__min_contrast", 0.5, FROM_TILES),
        ("tiles__size", 16, SUMMING_UP | FROM_TILES | BASELINE),
        ("models__mae__mask_ratio", 0.5, SUMMING_UP | TRAINING | FROM_MAE),
        ("models__mae__seed", 1, SUMMING_UP | TRAINING | FROM_MAE),
        ("alignments__tvn__pca", 6, FROM_ALIGNMENT),
        ("maps__aggregate", "median", FROM_MAPS),
        ("maps__replicates__draws", 500, FROM_MAPS),
        ("maps__bootstrap", 30, scoring() | REPORT),
        ("report__title", "Another title", REPORT),
    ],
)
def test_a_changed_key_makes_its_stage_anew_and_what_follows(finished, key, value, jobs):
    finished.configure(**{key: value})
    assert finished.plan() == jobs


def test_a_model_that_is_added_leaves_the_others(finished):
    finished.configure(models__constant={"family": "constant"})
    of_it = (embedding, fitting, aligning, mapping)
    assert finished.plan() == {"Building constant"} | REPORT | set().union(*(jobs(["constant"]) for jobs in of_it))


def test_a_remark_in_an_environment_file_makes_nothing_anew(finished):
    with (finished.folder / "envs" / "maps.yaml").open("a") as file:
        file.write("# a remark\n")
    assert finished.plan() == set()


def test_the_order_of_keys_matters_nowhere(finished):
    section = finished.config["models"]["mae"]
    finished.configure(models__mae=dict(reversed(section.items())))
    assert finished.plan() == set()


def test_touched_scripts_and_results_make_nothing_anew(finished):
    for folder in ("workflow", "results"):
        for path in (finished.folder / folder).rglob("*"):
            os.utime(path)
    assert finished.plan() == set()


@pytest.mark.parametrize(
    ("stage", "jobs"),
    [
        ("screen", FROM_SCREEN),
        ("tiles", FROM_TILES),
        ("models", TRAINING | BASELINE | FROM_EMBEDDINGS),
        ("pretraining", TRAINING | FROM_MAE),
        ("embeddings", FROM_EMBEDDINGS),
        ("alignment", FROM_ALIGNMENT),
        ("maps", FROM_MAPS),
        ("report", REPORT),
    ],
)
def test_a_bumped_version_makes_its_stage_anew_and_what_follows(finished, monkeypatch, stage, jobs):
    monkeypatch.setattr(import_module(f"cellmae.{stage}"), "VERSION", 1000)
    assert finished.plan() == jobs


def test_a_corrected_well_reaches_alignment_and_what_follows(finished):
    wells = plates_of(PLATES)
    genes = wells["gene"].to_list()
    treated = [row for row, gene in enumerate(genes) if gene != "EMPTY_control"]
    genes[treated[0]], genes[treated[1]] = genes[treated[1]], genes[treated[0]]
    finished.annotate(wells.assign(gene=genes))
    assert finished.plan() == annotating(PLATES[:1]) | SUMMING_UP | FROM_ALIGNMENT


NEW_PLATE = listing([LATER_PLATE]) | annotating([LATER_PLATE]) | tiling([LATER_PLATE])
ADDED = NEW_PLATE | SUMMING_UP | embedding(plates=[LATER_PLATE]) | aligning() | FROM_MAPS


def test_an_added_plate_is_aligned_with_what_exists(finished):
    finished.annotate(plates_of([*PLATES, LATER_PLATE]))
    assert finished.plan() == ADDED


def test_an_added_plate_is_fitted_on_only_when_told(finished):
    finished.annotate(plates_of([*PLATES, LATER_PLATE]))
    finished.configure(alignments__tvn__refit=True)
    assert finished.plan() == ADDED | fitting()
    finished.configure(alignments__tvn__refit=False, models__mae__plates=[*PLATES, LATER_PLATE])
    assert finished.plan() == ADDED | TRAINING | FROM_MAE
    finished.configure(models__mae__plates=[], models__mae__refit=True)
    assert finished.plan() == ADDED | TRAINING | FROM_MAE


def test_refit_without_new_plates_fits_nothing(finished):
    finished.configure(models__mae__refit=True, alignments__tvn__refit=True)
    assert finished.plan() == REPORT


def test_a_removed_plate_leaves_what_was_fitted_on_it(finished):
    finished.annotate(plates_of(PLATES[:1]))
    assert finished.plan() == SUMMING_UP | aligning() | FROM_MAPS
    finished.configure(models__mae__refit=True)
    from_mae = TRAINING | embedding(["mae"], PLATES[:1]) | fitting(["mae"])
    assert finished.plan() == SUMMING_UP | from_mae | aligning() | FROM_MAPS


def test_fitted_plates_survive_the_loss_of_their_outputs(finished):
    """Snakemake deletes outputs before a job; planned anew at that moment, the job must be the same."""
    finished.annotate(plates_of([*PLATES, LATER_PLATE]))
    (finished.results / "models/mae/model.yaml").unlink()
    (finished.results / "alignment/mae/tvn.fit.json").unlink()
    planned = finished.plan("--printshellcmds", "models")
    assert planned == TRAINING
    assert finished.plan() == ADDED | TRAINING | FROM_MAE


def test_a_stage_made_anew_alone_touches_nothing_before_it(finished):
    assert finished.plan("--forcerun", "tile_plate", "--", "tiles") == tiling()
    assert finished.plan("--forcerun", "apply_alignment", "--", "alignment") == aligning()


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
