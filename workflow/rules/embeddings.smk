# Tiles and an encoder, or a table of profiles -> one vector a well.

import cellmae.embeddings


rule embed_plate:
    input:
        table=rules.tile_plate.output.table,
        tiles=rules.tile_plate.output.manifest,
        model=f"{RESULTS}/models/{{model}}/model.yaml",
        batch=batch_files(rules.tile_plate.output.manifest),
    output:
        wells=f"{RESULTS}/embeddings/{{model}}/{{plate}}.h5ad",
        manifest=f"{RESULTS}/embeddings/{{model}}/{{plate}}.json",
    log:
        f"{RESULTS}/logs/embeddings/{{model}}/{{plate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embeddings/{{model}}/{{plate}}.tsv"
    wildcard_constraints:
        model=any_of(IMAGED),
    conda:
        "../../envs/train.yaml"
    threads: 1  # plates, of which there are many, run side by side
    resources:
        gpu=gpus,
        mem_mb=growing(4000),
        runtime=embedding_minutes,
        in_turn=1,
    params:
        version=cellmae.embeddings.VERSION,
    message:
        "Embedding {wildcards.plate} with {wildcards.model}"
    script:
        "../scripts/embed_plate.py"


if RETIRE != "keep":

    rule retire_tiles:
        input:
            embeddings=readers_of_tiles(rules.embed_plate.output.manifest),
            models=expand(rules.pretrain_model.output.record, model=TRAINED),
            blocks=expand(rules.rank_blocks.output.manifest, model=RANKED),
        output:
            retired=f"{RESULTS}/tiles/{{plate}}.{RETIRE}d",
        log:
            f"{RESULTS}/logs/tiles/{{plate}}.{RETIRE}d.log",
        benchmark:
            f"{RESULTS}/benchmarks/tiles/{{plate}}.{RETIRE}d.tsv"
        conda:
            "../../envs/maps.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(20),
            in_turn=1,
        params:
            store=f"{RESULTS}/tiles/{{plate}}.zarr",
            restored=rules.restore_plate.output.restored,
            how=RETIRE,
        message:
            "Tiles of {wildcards.plate}: {params.how}"
        script:
            "../scripts/retire_tiles.py"


rule embed_features:
    input:
        table=lambda wildcards: MODELS[wildcards.model].get(
            "table", SCREEN.get("table")
        ),
    output:
        wells=f"{RESULTS}/embeddings/{{model}}/{{plate}}.h5ad",
        manifest=f"{RESULTS}/embeddings/{{model}}/{{plate}}.json",
    log:
        f"{RESULTS}/logs/embeddings/{{model}}/{{plate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embeddings/{{model}}/{{plate}}.tsv"
    wildcard_constraints:
        model=any_of([model for model in MODELS if model not in IMAGED]),
    conda:
        "../../envs/maps.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, input, attempt: (
            attempt * (1000 + 10 * int(input.size_mb))
        ),
        runtime=growing(5),
        in_turn=1,
    params:
        version=cellmae.embeddings.VERSION,
        plate=identity,
        columns=SCREEN.get("columns", {}),
        features=lambda wildcards: MODELS[wildcards.model]["columns"],
    message:
        "Taking the profiles {wildcards.model} of {wildcards.plate}"
    script:
        "../scripts/embed_features.py"


rule embeddings:
    input:
        expand(
            f"{RESULTS}/embeddings/{{model}}/{{plate}}.json",
            model=MODELS,
            plate=PLATES,
        ),
        RETIRED,
    localrule: True
