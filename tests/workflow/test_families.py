"""Every family of models in one workflow: trained, ranked, embedded, aligned, mapped and reported side by side."""

import shutil

import pandas as pd
import pytest

from cellmae.files import read_json
from cellmae.models import FAMILIES, load_encoder, read_model, with_points

from .checkout import LATER_PLATE, PLATES, Checkout, plates_of
from .test_reruns import ADDED, REPORT, annotating, fitting

pytestmark = [pytest.mark.configs, pytest.mark.timeout(1200)]
TRAINING = {"crops_total": 64, "batch_size": 16, "optimizer": "adamw", "checkpoint_minutes": 0}
VALIDATED = {**TRAINING, "validation_plates": [PLATES[1]]}
MODELS = {
    "mae": {"family": "mae", "patch": 8, **VALIDATED},
    "ca-mae": {"family": "ca-mae", "patch": 8, "per_channel": True, **VALIDATED},
    "munet": {"family": "munet", "patch": 8, **VALIDATED},
    "classifier": {"family": "classifier", "architecture": "densenet-tiny", **TRAINING},
    "adabn": {"family": "classifier", "architecture": "densenet-tiny", "adabn": True, "points": [32], **TRAINING},
    "untrained": {"family": "untrained", "architecture": "unet", "patch": 8},
    "intensity": {"family": "intensity"},
    "foreground": {"family": "foreground"},
    "constant": {"family": "constant"},
}
EMBEDDED = list(with_points(MODELS))
TRAINED = [name for name, spec in MODELS.items() if FAMILIES[spec["family"]].trained]


@pytest.fixture(scope="module")
def families(fresh_checkout, tmp_path_factory) -> Checkout:
    """A finished run of all families that need nothing from elsewhere."""
    folder = tmp_path_factory.mktemp("families") / "checkout"
    shutil.copytree(fresh_checkout, folder)
    checkout = Checkout(folder)
    checkout.configure(models=MODELS)
    checkout.run()
    return checkout


def test_every_model_has_a_map(families):
    scores = [pd.read_csv(families.results / "maps" / model / "tvn" / "recall.csv") for model in EMBEDDED]
    assert all(len(score) == 1 for score in scores)
    comparison = pd.read_csv(families.results / "maps" / "comparison.csv")
    assert len(comparison[["model_a", "model_b"]].drop_duplicates()) == len(EMBEDDED) * (len(EMBEDDED) - 1) // 2


def test_models_are_trained_on_what_is_not_set_aside(families):
    records = {model: read_model(families.results / "models" / model) for model in TRAINED}
    assert {model: record["plates"] for model, record in records.items()} == {
        model: PLATES[:1] if "validation_plates" in MODELS[model] else PLATES for model in TRAINED
    }
    assert records["mae"]["training"]["evaluated_on"] == PLATES[1:]
    remembered = read_json(families.results / "models" / "mae" / "plates.json")["plates"]
    assert remembered == PLATES  # so that a plate is trained on once it is no longer set aside
    assert not {"gpus", "checkpoint_minutes"} & set(records["mae"]["spec"])
    assert "EMPTY_control" in records["classifier"]["training"]["classes"]


def test_blocks_are_ranked_where_plates_are_set_aside(families):
    for model in ("mae", "ca-mae"):
        blocks = pd.read_csv(families.results / "models" / model / "blocks.csv")
        assert sorted(blocks["block"]) == [1, 2, 3, 4]
        # Every gene lies in one well of this small plate.
        assert blocks["reason"].eq("0 perturbations in 2 wells or more, of at least 2").all()
    assert not (families.results / "models" / "munet" / "blocks.csv").exists()


def test_encoders_can_be_built_again(families):
    dims = {model: load_encoder(families.results / "models" / model).dim for model in TRAINED}
    assert dims == {"mae": 128, "ca-mae": 6 * 128, "munet": 128, "classifier": 128, "adabn": 128}


def test_the_report_shows_them_all(families):
    page = (families.results / "report" / "index.html").read_text()
    assert all(f">{model}<" in page for model in MODELS)
    assert (families.results / "report" / "tables" / "blocks.csv").exists()
    training = pd.read_csv(families.results / "report" / "tables" / "training.csv")
    assert set(training["model"]) == set(TRAINED)
    assert training.groupby("model")["accuracy"].count()["classifier"] > 0


def test_a_corrected_well_retrains_classifiers_and_no_other(families):
    wells = plates_of(PLATES)
    genes = wells["gene"].to_list()
    treated = [row for row, gene in enumerate(genes) if gene != "EMPTY_control"]
    genes[treated[0]], genes[treated[1]] = genes[treated[1]], genes[treated[0]]
    try:
        families.annotate(wells.assign(gene=genes))
        jobs = families.plan()
    finally:
        families.annotate(plates_of(PLATES))
    assert {job for job in jobs if job.startswith("Training")} == {"Training classifier", "Training adabn"}
    assert annotating(PLATES[:1]) | fitting(EMBEDDED) | REPORT <= jobs


def test_an_added_plate_is_embedded_by_all_and_changes_no_other(families):
    """AdaBN's statistics of a batch stay those of the plates that the model was trained on."""
    try:
        families.annotate(plates_of([*PLATES, LATER_PLATE]))
        jobs = families.plan()
    finally:
        families.annotate(plates_of(PLATES))
    assert {job for job in jobs if job.startswith("Embedding")} == {
        f"Embedding {LATER_PLATE} with {model}" for model in EMBEDDED
    }
    assert not {job for job in jobs if job.startswith(("Training", "Fitting", "Ranking"))}
    assert {job for job in ADDED if job.startswith("Tiling")} <= jobs


def test_a_saved_model_embeds_another_run(families):
    families.configure(
        results="applied",
        models={"taken": {"family": "saved", "weights": "results/models/mae"}, "intensity": {"family": "intensity"}},
    )
    try:
        families.run("embeddings")
        records = [read_model(families.folder / run) for run in ("applied/models/taken", "results/models/mae")]
        assert records[0] == records[1]
    finally:
        families.configure(results="results", models=MODELS)
