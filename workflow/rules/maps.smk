# One vector a perturbation, their similarities, and how much known biology these recall.

import cellmae.maps

MAP = f"{RESULTS}/maps/{{model}}/{{alignment}}"
RESAMPLING = {"replicates": config["maps"]["bootstrap"], "seed": config["maps"]["seed"]}


rule build_map:
    input:
        alignment=rules.apply_alignment.output.manifest,
    output:
        treatments=f"{MAP}/treatments.h5ad",
        map=f"{MAP}/map.h5ad",
        manifest=f"{MAP}/map.json",
    log:
        f"{RESULTS}/logs/maps/{{model}}/{{alignment}}.map.log",
    benchmark:
        f"{RESULTS}/benchmarks/maps/{{model}}/{{alignment}}.map.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(60),
    params:
        version=cellmae.maps.VERSION,
        aligned=rules.apply_alignment.output.wells,
        aggregate=config["maps"]["aggregate"],
    message:
        "Mapping {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/build_map.py"


rule score_recall:
    input:
        manifest=rules.build_map.output.manifest,
        relationships=list(config["maps"]["relationships"].values()),
        truth=rules.simulate_truth.output.truth if SIMULATED else [],
    output:
        recall=report(
            f"{MAP}/recall.csv", caption="../report/recall.rst", category="Maps"
        ),
        pairs=f"{MAP}/pairs.parquet",
    log:
        f"{RESULTS}/logs/maps/{{model}}/{{alignment}}.recall.log",
    benchmark:
        f"{RESULTS}/benchmarks/maps/{{model}}/{{alignment}}.recall.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(60),
    params:
        version=cellmae.maps.VERSION,
        map=rules.build_map.output.map,
        sources=list(config["maps"]["relationships"]),
        thresholds=config["maps"]["thresholds"],
        resampling=RESAMPLING,
    message:
        "Scoring the recall of {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/score_recall.py"


if SIMULATED:

    rule score_probe:
        input:
            alignment=rules.apply_alignment.output.manifest,
            truth=rules.simulate_truth.output.truth,
        output:
            score=report(
                f"{MAP}/probe.csv", caption="../report/probe.rst", category="Maps"
            ),
            errors=f"{MAP}/probe.parquet",
        log:
            f"{RESULTS}/logs/maps/{{model}}/{{alignment}}.probe.log",
        benchmark:
            f"{RESULTS}/benchmarks/maps/{{model}}/{{alignment}}.probe.tsv"
        conda:
            "../../envs/maps.yaml"
        threads: ALL_PLATES["threads"]
        resources:
            mem_mb=growing(ALL_PLATES["mem_mb"]),
            runtime=growing(60),
        params:
            version=cellmae.maps.VERSION,
            aligned=rules.apply_alignment.output.wells,
            resampling=RESAMPLING,
        message:
            "Probing {wildcards.model}, aligned by {wildcards.alignment}"
        script:
            "../scripts/score_probe.py"


rule compare_models:
    input:
        maps=expand(rules.build_map.output.manifest, model=MODELS, alignment=ALIGNMENTS),
        pairs=expand(
            rules.score_recall.output.pairs, model=MODELS, alignment=ALIGNMENTS
        ),
        probes=(
            expand(rules.score_probe.output.errors, model=MODELS, alignment=ALIGNMENTS)
            if SIMULATED
            else []
        ),
    output:
        comparison=report(
            f"{RESULTS}/maps/comparison.csv",
            caption="../report/comparison.rst",
            category="Maps",
        ),
    log:
        f"{RESULTS}/logs/maps/comparison.log",
    benchmark:
        f"{RESULTS}/benchmarks/maps/comparison.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(60),
    params:
        version=cellmae.maps.VERSION,
        thresholds=config["maps"]["thresholds"],
        resampling=RESAMPLING,
    message:
        "Comparing the models"
    script:
        "../scripts/compare_models.py"


rule maps:
    input:
        rules.compare_models.output.comparison,
    localrule: True
