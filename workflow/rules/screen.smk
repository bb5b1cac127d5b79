# Plates as they lie on disk -> what images there are, and what was done to each well.
#
# These rules have priority: before anything is tiled, the summary says what the run will cost.

import cellmae.screen

if "fetch" in SCREEN:

    # Without outputs, so that it looks each time whether all is there; fetched.json in the folder of the plates says so.
    rule fetch:
        log:
            f"{RESULTS}/logs/screen/fetch.log",
        localrule: True
        conda:
            "../../envs/maps.yaml"
        params:
            root=ROOT,
            fetch=SCREEN["fetch"],
        message:
            "Fetching {params.fetch[source]} into {params.root}"
        script:
            "../scripts/fetch_screen.py"


if SIMULATED:

    rule simulate_plate:
        output:
            manifest=f"{ROOT}/{{plate}}.json",
        log:
            f"{RESULTS}/logs/screen/{{plate}}.simulation.log",
        benchmark:
            f"{RESULTS}/benchmarks/screen/{{plate}}.simulation.tsv"
        priority: 1
        conda:
            "../../envs/maps.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(20),
            in_turn=1,
        params:
            version=cellmae.screen.VERSION,
            simulation=simulation_up_to,
            experiment=lambda wildcards: PLATES[wildcards.plate].experiment,
            plate=plate_number,
        message:
            "Drawing the plate {wildcards.plate}"
        script:
            "../scripts/simulate_plate.py"

    rule simulate_truth:
        output:
            metadata=f"{ROOT}/metadata.csv",
            relationships=f"{ROOT}/relationships.csv",
            truth=f"{ROOT}/truth.parquet",
        log:
            f"{RESULTS}/logs/screen/truth.log",
        benchmark:
            f"{RESULTS}/benchmarks/screen/truth.tsv"
        priority: 1
        conda:
            "../../envs/maps.yaml"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            version=cellmae.screen.VERSION,
            simulation=SCREEN.get("simulation"),
        message:
            "Writing what the simulation knows of itself"
        script:
            "../scripts/simulate_truth.py"


rule index_fields:
    input:
        rules.simulate_plate.output.manifest if SIMULATED else [],
    output:
        fields=f"{RESULTS}/screen/{{plate}}.fields.parquet",
    log:
        f"{RESULTS}/logs/screen/{{plate}}.fields.log",
    benchmark:
        f"{RESULTS}/benchmarks/screen/{{plate}}.fields.tsv"
    priority: 1
    conda:
        "../../envs/maps.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(5),
        in_turn=1,
    params:
        version=cellmae.screen.VERSION,
        plate=identity,
        # Not the whole section: a changed label of the controls is no reason to tile and train again.
        images=cellmae.screen.image_settings(SCREEN),
        excluded=excluded_fields,
        cache=f"{RESULTS}/screen/plates.json",
    message:
        "Listing the images of {wildcards.plate}"
    script:
        "../scripts/index_fields.py"


rule index_wells:
    input:
        fields=rules.index_fields.output.fields,
    output:
        wells=f"{RESULTS}/screen/{{plate}}.wells.parquet",
    log:
        f"{RESULTS}/logs/screen/{{plate}}.wells.log",
    benchmark:
        f"{RESULTS}/benchmarks/screen/{{plate}}.wells.tsv"
    priority: 1
    conda:
        "../../envs/maps.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(5),
        in_turn=1,
    params:
        version=cellmae.screen.VERSION,
        plate=identity,
        # The digest stands for this plate's rows of the annotations and for their roles.
        digest=lambda wildcards: PLATES[wildcards.plate].wells_digest,
        cache=f"{RESULTS}/screen/plates.json",
    message:
        "Annotating the wells of {wildcards.plate}"
    script:
        "../scripts/index_wells.py"


rule summarise_screen:
    input:
        fields=expand(rules.index_fields.output.fields, plate=PLATES),
        wells=expand(rules.index_wells.output.wells, plate=PLATES),
    output:
        json=f"{RESULTS}/screen/summary.json",
        text=f"{RESULTS}/screen/summary.txt",
    log:
        f"{RESULTS}/logs/screen/summary.log",
    benchmark:
        f"{RESULTS}/benchmarks/screen/summary.tsv"
    priority: 1
    conda:
        "../../envs/train.yaml" if TRAINED else "../../envs/maps.yaml"
    threads: 1
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(30),
    params:
        version=cellmae.screen.VERSION,
        root=ROOT,
        run={
            "channels": len(CHANNELS),
            "tile_size": TILING["size"],
            "binning": TILING["binning"],
            "trained": {model: without_plates(MODELS[model]) for model in TRAINED},
        },
        cache=f"{RESULTS}/screen/plates.json",
    message:
        "Summing up the screen"
    script:
        "../scripts/summarise_screen.py"


rule screen:
    input:
        summary=rules.summarise_screen.output.text,
    log:
        f"{RESULTS}/logs/screen/screen.log",
    localrule: True
    conda:
        "../../envs/maps.yaml"
    message:
        "The screen:"
    shell:
        "cat {input.summary:q} 2> {log:q}"
