# What this run consists of, known before the first job: nothing here opens an image or imports torch.

import json
import os
import re
import shutil
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from textwrap import indent

import cellmae.alignment
import cellmae.config
import cellmae.embeddings
import cellmae.maps
import cellmae.models
import cellmae.screen
import cellmae.screen.fetching
import cellmae.tiles
from cellmae.alignment.harmony import require_harmonypy
from cellmae.errors import CellmaeError
from cellmae.files import read_manifest
from cellmae.fitted import fitted_plates, spread_plates, without_validation
from cellmae.models import FAMILIES, read_model, with_points
from cellmae.models.families import (
    at_block,
    check_origin,
    check_spec,
    has_blocks,
    weight_files,
)
from cellmae.names import any_of
from cellmae.pretraining.plan import Plan
from cellmae.versions import MANIFESTS, refuse_newer

os.umask(
    os.umask(0) | 0o002
)  # whatever the caller grants, not everybody may change results

SCHEMA = workflow.source_path("schemas/config.schema.yaml")


def training_plates(model):
    """Return the plates that a model is trained on, see `cellmae.fitted`."""
    record = f"{RESULTS}/models/{model}/plates.json"
    plates = fitted_plates(
        record,
        PLATES,
        key=f"models.{model}",
        listed=listed_plates(
            record,
            MODELS[model]["plates"],
            aside=MODELS[model]["validation_plates"],
            key=f"models.{model}",
        ),
        refit=MODELS[model]["refit"],
        is_kept=has_tiles,
    )
    aside = MODELS[model]["validation_plates"]
    return without_validation(plates, aside, PLATES, key=f"models.{model}")


def listed_plates(record, plates, *, key, aside=()):
    """Return the plates that a configuration lists, or as many as it says, see `cellmae.fitted`."""
    if not isinstance(plates, int):
        return plates
    batches = {
        plate: PLATES[plate].batch for plate in PLATES if plate not in set(aside)
    }
    return spread_plates(record, batches, plates, key=key)


def has_tiles(plate):
    """Say whether there are tiles of a removed plate that models of today can be trained on."""
    path = Path(f"{RESULTS}/tiles/{plate}.json")
    stored = path.with_suffix(".zarr").exists()
    manifest = read_manifest(path, stage="tiles") if path.exists() and stored else {}
    wanted = {"tile_size": config["tiles"]["size"], "channels": CHANNELS}
    return all(manifest.get(key) == value for key, value in wanted.items())


def fit_plates(model, alignment):
    """Return the plates that an alignment of a model's embeddings is fitted on, removed ones last."""

    def is_kept(plate):
        files = (f"embeddings/{model}/{plate}.json", f"screen/{plate}.wells.parquet")
        return all(Path(RESULTS, file).exists() for file in files)

    record = f"{RESULTS}/alignment/{model}/{alignment}.plates.json"
    plates = fitted_plates(
        record,
        PLATES,
        key=f"alignments.{alignment}",
        listed=listed_plates(
            record, ALIGNMENTS[alignment]["plates"], key=f"alignments.{alignment}"
        ),
        refit=ALIGNMENTS[alignment]["refit"],
        is_kept=is_kept,
    )
    return sorted(plates, key=lambda plate: plate not in PLATES)


def is_mapped(model):
    """Say whether there are maps of a model, and of the one that it is a point of, by every alignment."""
    return all(
        Path(f"{RESULTS}/maps/{name}/{alignment}/map.json").exists()
        for name in {model, trained_model(model)}
        for alignment in ALIGNMENTS
    )


def training_files(pattern):
    """Return an input function: a file of each plate that a model is trained on."""
    return lambda wildcards: expand(pattern, plate=TRAINING_PLATES[wildcards.model])


def validation_files(pattern):
    """Return an input function: a file of each plate that a model in training is measured on."""
    return lambda wildcards: expand(
        pattern, plate=MODELS[wildcards.model]["validation_plates"]
    )


def batch_files(pattern):
    """Return an input function: a file of each plate that AdaBN takes the statistics of a plate's batch from.

    They are those of the batch that the model was trained on, so that a plate added later changes no other; of a batch
    that it was not trained on, all.
    """

    def files(wildcards):
        if not adapts(MODELS[wildcards.model]):
            return []
        batch = PLATES[wildcards.plate].batch
        plates = [plate for plate in PLATES if PLATES[plate].batch == batch]
        trained = TRAINING_PLATES.get(trained_model(wildcards.model), [])
        return expand(pattern, plate=[p for p in plates if p in trained] or plates)

    return files


def readers_of_tiles(pattern):
    """Return an input function: the embeddings, by all models, of a plate and of those that AdaBN reads it for."""

    def files(wildcards):
        batch = PLATES[wildcards.plate].batch
        shared = any(adapts(MODELS[model]) for model in IMAGED)
        plates = [
            plate
            for plate in PLATES
            if plate == wildcards.plate or (shared and PLATES[plate].batch == batch)
        ]
        return expand(pattern, model=IMAGED, plate=plates)

    return files


def fit_files(pattern):
    """Return an input function: a file of each plate that an alignment is fitted on."""
    return lambda wildcards: expand(
        pattern,
        model=wildcards.model,
        plate=FIT_PLATES[wildcards.model, wildcards.alignment],
    )


def gene_tables(wildcards):
    """Return the tables of facts about genes that an alignment depends on."""
    spec = ALIGNMENTS[wildcards.alignment]
    if spec["arm_correction"] is None and "expressed" not in spec["filter"]:
        return []
    return [table for table in config["genes"].values() if table is not None]


def without_plates(spec):
    """Return a model's or an alignment's configuration less what says which plates it is fitted on, or with what."""
    other = ("plates", "refit", "validation_plates", "gpus", "nodes")
    return {key: value for key, value in spec.items() if key not in other}


def origin_files(wildcards):
    """Return what a model is taken from that is not trained: another model of this run, files from elsewhere, or nothing."""
    spec = MODELS[wildcards.model]
    if spec.get("of") is not None:
        return f"{RESULTS}/models/{spec['of']}/model.yaml"
    return weight_files(spec)


def adapts(spec):
    """Say whether a model takes batch statistics from the plates that it embeds (AdaBN)."""
    return encoder_spec(spec).get("adabn", False)


def trained_model(model):
    """Return the model of this run that a model is taken from, a point or by another block; others as they are."""
    return MODELS[model].get("of") or model


def encoder_spec(spec):
    """Return the configuration that a model's encoder was made by, which is another model's where it is taken from one."""
    if spec.get("of") is not None:
        return encoder_spec(MODELS[spec["of"]])
    if spec["family"] == "saved":
        return read_model(spec["weights"])["spec"]
    return spec


def training_batches(wildcards):
    """Return the experimental batch of each training plate, where the training depends on it."""
    plates = TRAINING_PLATES[wildcards.model] if adapts(MODELS[wildcards.model]) else []
    return {plate: PLATES[plate].batch for plate in plates if plate in PLATES}


def check_model(model, spec):
    """Raise what cannot be built or trained, under the name of the model."""
    crops = {"channels": len(CHANNELS), "crop_size": config["tiles"]["size"]}
    try:
        check_origin(spec, config["models"])
        check_spec(spec, **crops)
        if spec["family"] == "saved":
            made = at_block(encoder_spec(spec), spec["embed_block"])
            check_spec(made | {"weights": None}, **crops)
        if model in TRAINED:
            Plan.from_spec(spec).check_ranks(spec["gpus"] * spec["nodes"])
    except CellmaeError as error:
        message = re.sub(r"^models\.", f"models.{model}.", str(error))
        raise CellmaeError(message) from None


def identity(wildcards):
    """Return what a plate is called, without what is on it."""
    return {
        key: value
        for key, value in asdict(PLATES[wildcards.plate]).items()
        if key != "wells_digest"
    }


def excluded_fields(wildcards):
    """Return what is left out of a plate, in an order of its own."""
    return [
        sorted(map(str, part))
        for part in cellmae.screen.excluded(wildcards.plate, SCREEN)
    ]


def plate_number(wildcards):
    """Return the number of a simulated plate in its experiment."""
    return int(PLATES[wildcards.plate].name.removeprefix("Plate"))


def simulation_up_to(wildcards):
    """Return the smallest simulated screen that holds a plate, so that adding plates draws no other plate anew."""
    experiment = int(PLATES[wildcards.plate].experiment.removeprefix("gene-"))
    return {
        **SCREEN["simulation"],
        "experiments": experiment,
        "plates": plate_number(wildcards),
    }


def models_that(trait):
    """Return the models whose family has a trait, see `cellmae.models.Family`."""
    return [
        model
        for model, spec in MODELS.items()
        if getattr(FAMILIES[spec["family"]], trait)
    ]


def refuse(wildcards):
    """Stop whatever needs the plates, as an input function of all rules but one while there are none."""
    sys.exit(
        f"cellmae: screen.fetch: {SCREEN['fetch']['source']} has not been fetched into {ROOT}, or not all of it; run "
        "`snakemake fetch` first"
    )


def gpus(wildcards):
    """Ask for a GPU, except on a workstation without, where jobs would wait for each other in vain."""
    return int(workflow.non_local_exec or shutil.which("nvidia-smi") is not None)


def training_gpus(wildcards):
    """Ask for the GPUs that train a model together, on all its nodes."""
    return (
        gpus(wildcards) * MODELS[wildcards.model]["gpus"] * (on_nodes(wildcards) or 1)
    )


def on_nodes(wildcards):
    """Return on how many nodes of a cluster a model is trained, if on several."""
    nodes = MODELS[wildcards.model]["nodes"]
    return nodes if nodes > 1 and workflow.non_local_exec else None


def gres_of_a_node(wildcards):
    """Ask for as many GPUs of each of several nodes: Slurm would else be free to take more of one than of another."""
    wanted = gpus(wildcards) * MODELS[wildcards.model]["gpus"]
    return f"gpu:{wanted}" if on_nodes(wildcards) and wanted else None


def growing(amount):
    """Return a resource function: an amount that a job gets as often as it is tried."""
    return lambda wildcards, attempt: attempt * amount


def tiling_minutes(wildcards, input, attempt):
    """Return how long to tile a plate at most: a second a field."""
    from pyarrow.parquet import read_metadata

    with open(input.fields, "rb") as table:
        return attempt * (10 + read_metadata(table).num_rows // 60)


def embedding_minutes(wildcards, input, attempt):
    """Return how long to embed a plate at most: a second for 50 tiles."""
    manifest = json.loads(Path(input.tiles).read_text())
    return attempt * (10 + manifest["tiles"] // 3000)


try:
    config = cellmae.config.validate(config, SCHEMA)
    RESULTS = config["results"]
    refuse_newer(
        RESULTS, {stage: getattr(cellmae, stage).VERSION for stage in MANIFESTS}
    )
    SCREEN = config["screen"]
    ROOT = SCREEN.get("root", "")  # a screen of profiles has none
    CHANNELS = SCREEN.get("channels", [])
    TILING = {
        key: value
        for key, value in config["tiles"].items()
        if key not in ("pixel_size", "after_embedding")
    }
    if config["tiles"]["pixel_size"] is not None:
        TILING["binning"] = config["tiles"]["pixel_size"] / SCREEN["pixel_size"]
    Z_PLANE = None if SCREEN.get("z", "max") == "max" else SCREEN["z"] - 1
    SIMULATED = SCREEN["layout"] == "simulated"
    AWAITED = cellmae.screen.fetching.is_awaited(SCREEN)
    PLATES = (
        {}
        if AWAITED
        else cellmae.screen.plates(SCREEN, cache=f"{RESULTS}/screen/plates.json")
    )
    ALIGNMENTS = config["alignments"]
    MODELS = with_points(config["models"])
    UNFINISHED = [m for m in MODELS if not is_mapped(m)] if config["partial"] else []
    MODELS = {model: MODELS[model] for model in MODELS if model not in UNFINISHED}
    if not MODELS:
        raise CellmaeError(
            "partial: no model is mapped yet, so there is nothing to report; run without it first"
        )
    TRAINED = models_that("trained")
    MASKED = models_that("masked")
    LABELLED = models_that("labelled")
    IMAGED = models_that("needs_images")
    RETIRE = config["tiles"]["after_embedding"] if IMAGED and not UNFINISHED else "keep"
    RETIRED = (
        []
        if RETIRE == "keep"
        else [f"{RESULTS}/tiles/{plate}.{RETIRE}d" for plate in PLATES]
    )
    TRAINING_PLATES = {
        model: [] if AWAITED else training_plates(model) for model in TRAINED
    }
    RANKED = [
        model
        for model in TRAINED
        if MODELS[model]["validation_plates"] and has_blocks(MODELS[model])
    ]
    FIT_PLATES = {
        pair: [] if AWAITED else fit_plates(*pair)
        for pair in product(MODELS, ALIGNMENTS)
    }
    for model, spec in MODELS.items():  # raises what is wrong before the first job
        check_model(model, spec)
    for alignment, spec in ALIGNMENTS.items():
        if spec["harmony"]:
            require_harmonypy(f"alignments.{alignment}")
except CellmaeError as error:
    sys.exit(indent(str(error), "cellmae: "))

# What a job asks for that works on all plates at once.
ALL_PLATES = {
    "threads": min(8, 1 + len(PLATES) // 50),
    "mem_mb": 4000 + 40 * len(PLATES),
}
