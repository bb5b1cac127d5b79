# Tiles -> an encoder.

import cellmae.embeddings
import cellmae.models
import cellmae.pretraining


rule pretrain_model:
    input:
        tiles=training_files(rules.tile_plate.output.manifest),
        validation_tiles=validation_files(rules.tile_plate.output.manifest),
    output:
        weights=f"{RESULTS}/models/{{model}}/encoder.safetensors",
        history=f"{RESULTS}/models/{{model}}/history.csv",
        reconstructions=report(
            f"{RESULTS}/models/{{model}}/reconstructions.png",
            caption="../report/reconstructions.rst",
            category="Models",
            labels={"Model": "{model}", "What": "Reconstructions"},
        ),
        record=f"{RESULTS}/models/{{model}}/model.yaml",
    log:
        f"{RESULTS}/logs/models/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/models/{{model}}.tsv"
    wildcard_constraints:
        model=any_of(MASKED),
    conda:
        "../../envs/train.yaml"
    threads: 16
    resources:
        gpu=training_gpus,
        wanted_gpus=training_gpus,
        nodes=lambda wildcards: MODELS[wildcards.model]["nodes"],
        gres=gres_of_a_node,
        mpi=lambda wildcards: "srun" if on_nodes(wildcards) else None,
        tasks=on_nodes,
        tasks_per_gpu=lambda wildcards: 0 if on_nodes(wildcards) else None,
        mem_mb=lambda wildcards, threads, attempt: (
            # Less steeply than elsewhere: a time limit is the usual reason for another attempt.
            (1 + attempt)
            * (2000 * MODELS[wildcards.model]["gpus"] + 250 * threads)
        ),
        runtime=1440,  # the next attempt goes on from the last checkpoint
    params:
        version=[cellmae.models.VERSION, cellmae.pretraining.VERSION],
        spec=lambda wildcards: without_plates(MODELS[wildcards.model]),
        batches=training_batches,
        channels=CHANNELS,
        crop_size=config["tiles"]["size"],
    message:
        "Training {wildcards.model}"
    script:
        "../scripts/pretrain_model.py"


use rule pretrain_model as train_classifier with:
    input:
        tiles=training_files(rules.tile_plate.output.manifest),
        wells=training_files(rules.index_wells.output.wells),
        validation_tiles=validation_files(rules.tile_plate.output.manifest),
        validation_wells=validation_files(rules.index_wells.output.wells),
    output:
        weights=f"{RESULTS}/models/{{model}}/encoder.safetensors",
        history=f"{RESULTS}/models/{{model}}/history.csv",
        record=f"{RESULTS}/models/{{model}}/model.yaml",
    wildcard_constraints:
        model=any_of(LABELLED),


rule build_baseline:
    input:
        origin_files,
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
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        version=cellmae.models.VERSION,
        spec=lambda wildcards: MODELS[wildcards.model],
        channels=CHANNELS,
        crop_size=config["tiles"]["size"],
    message:
        "Building {wildcards.model}"
    script:
        "../scripts/build_baseline.py"


rule rank_blocks:
    input:
        model=rules.pretrain_model.output.record,
        tiles=validation_files(rules.tile_plate.output.manifest),
        wells=validation_files(rules.index_wells.output.wells),
    output:
        blocks=report(
            f"{RESULTS}/models/{{model}}/blocks.csv",
            caption="../report/blocks.rst",
            category="Models",
            labels={"Model": "{model}", "What": "Blocks"},
        ),
        manifest=f"{RESULTS}/models/{{model}}/blocks.json",
    log:
        f"{RESULTS}/logs/models/{{model}}.blocks.log",
    benchmark:
        f"{RESULTS}/benchmarks/models/{{model}}.blocks.tsv"
    wildcard_constraints:
        model=any_of(RANKED),
    conda:
        "../../envs/train.yaml"
    threads: 4
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        version=cellmae.embeddings.VERSION,
    message:
        "Ranking the blocks of {wildcards.model}"
    script:
        "../scripts/rank_blocks.py"


rule models:
    input:
        expand(f"{RESULTS}/models/{{model}}/model.yaml", model=IMAGED),
        expand(rules.rank_blocks.output.manifest, model=RANKED),
    localrule: True
