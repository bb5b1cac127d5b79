# What this run consists of, known before the first job: nothing here opens an image or imports torch.

import re
import sys
from dataclasses import asdict
from pathlib import Path
from textwrap import indent

import cellmae.config
import cellmae.models
import cellmae.screen
from cellmae.errors import CellmaeError
from cellmae.fitted import fitted_plates


def any_of(names):
    """Return a wildcard constraint that admits these names only."""
    return "|".join(map(re.escape, names)) or "(?!)"


def training_plates(model):
    """Return the plates that a model is trained on, see `cellmae.fitted`."""
    return fitted_plates(
        f"{RESULTS}/models/{model}/plates.json",
        PLATES,
        key=f"models.{model}",
        listed=MODELS[model]["plates"],
        refit=MODELS[model]["refit"],
        is_kept=lambda plate: Path(f"{RESULTS}/tiles/{plate}.json").exists(),
    )


def fit_plates(model, alignment):
    """Return the plates that an alignment of a model's embeddings is fitted on."""
    return fitted_plates(
        f"{RESULTS}/alignment/{model}/{alignment}.plates.json",
        PLATES,
        key=f"alignments.{alignment}",
        listed=ALIGNMENTS[alignment]["plates"],
        refit=ALIGNMENTS[alignment]["refit"],
        is_kept=lambda plate: Path(
            f"{RESULTS}/embeddings/{model}/{plate}.json"
        ).exists(),
    )


def training_files(pattern):
    """Return an input function: a file of each plate that a model is trained on."""
    return lambda wildcards: expand(pattern, plate=TRAINING_PLATES[wildcards.model])


def fit_files(pattern):
    """Return an input function: a file of each plate that an alignment is fitted on."""
    return lambda wildcards: expand(
        pattern,
        model=wildcards.model,
        plate=FIT_PLATES[wildcards.model, wildcards.alignment],
    )


def without_plates(spec):
    """Return a model's or an alignment's configuration less what says which plates it is fitted on."""
    return {key: value for key, value in spec.items() if key not in ("plates", "refit")}


def identity(wildcards):
    """Return what a plate is called, without what is on it."""
    return {
        key: value
        for key, value in asdict(PLATES[wildcards.plate]).items()
        if key != "wells_digest"
    }


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


try:
    config = cellmae.config.validate(
        config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml"
    )
    RESULTS, SCREEN, MODELS, ALIGNMENTS = (
        config[key] for key in ("results", "screen", "models", "alignments")
    )
    ROOT, CHANNELS = SCREEN.get("root", ""), SCREEN.get(
        "channels", []
    )  # none in a screen of profiles
    SIMULATED = SCREEN["layout"] == "simulated"
    PLATES = cellmae.screen.plates(SCREEN, cache=f"{RESULTS}/screen/plates.json")
    FAMILIES = {
        model: cellmae.models.FAMILIES[spec["family"]] for model, spec in MODELS.items()
    }
    TRAINED = [model for model, family in FAMILIES.items() if family.trained]
    IMAGED = [model for model, family in FAMILIES.items() if family.needs_images]
    TRAINING_PLATES = {model: training_plates(model) for model in TRAINED}
    FIT_PLATES = {
        (model, name): fit_plates(model, name)
        for model in MODELS
        for name in ALIGNMENTS
    }
except CellmaeError as error:
    sys.exit(indent(str(error), "cellmae: "))
