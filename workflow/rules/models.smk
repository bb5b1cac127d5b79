# Tiles -> an encoder.

import cellmae.models
import cellmae.pretraining


rule pretrain_model:
    input:
        tables=training_files(rules.tile_plate.output.table),
        manifests=training_files(rules.tile_plate.output.manifest),
    output:
        weights=f"{RESULTS}/models/{{model}}/encoder.safetensors",
        history=f"{RESULTS}/models/{{model}}/history.csv",
        reconstructions=report(
            f"{RESULTS}/models/{{model}}/reconstructions.png",
            caption="../report/reconstructions.rst",
            category="Models",
        ),
        record=f"{RESULTS}/models/{{model}}/model.yaml",
    log:
        f"{RESULTS}/logs/models/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/models/{{model}}.tsv"
    wildcard_constraints:
        model=any_of(TRAINED),
    conda:
        "../../envs/train.yaml"
    threads: 16
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards, threads: 4000 + 500 * threads,
        runtime=2880,
    params:
        version=[cellmae.models.VERSION, cellmae.pretraining.VERSION],
        spec=lambda wildcards: without_plates(MODELS[wildcards.model]),
        channels=CHANNELS,
        crop_size=config["tiles"]["size"],
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/pretrain_model.py"


rule build_baseline:
    output:
        record=f"{RESULTS}/models/{{model}}/model.yaml",
    log:
        f"{RESULTS}/logs/models/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/models/{{model}}.tsv"
    wildcard_constraints:
        model=any_of([model for model in IMAGED if model not in TRAINED]),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        version=cellmae.models.VERSION,
        spec=lambda wildcards: MODELS[wildcards.model],
        channels=CHANNELS,
        crop_size=config["tiles"]["size"],
    message:
        "Building {wildcards.model}"
    script:
        "../scripts/build_baseline.py"


rule models:
    input:
        expand(f"{RESULTS}/models/{{model}}/model.yaml", model=IMAGED),
    localrule: True
