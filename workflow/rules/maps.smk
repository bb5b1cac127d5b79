# One vector a perturbation, their similarities, and how much known biology these recall.

import cellmae.maps
from cellmae.references import reference_files

MAP = f"{RESULTS}/maps/{{model}}/{{alignment}}"
MAP_GENES = ("arms", "aliases")  # facts about genes that scores of a finished map need
RESAMPLING = {"replicates": config["maps"]["bootstrap"], "seed": config["maps"]["seed"]}
MAP_LABELS = {"Model": "{model}", "Alignment": "{alignment}"}  # in `snakemake --report`


if config["references"] is not None:

    rule fetch_references:
        output:
            reference_files(config["references"]),
        log:
            f"{RESULTS}/logs/maps/references.log",
        localrule: True
        conda:
            "../../envs/maps.yaml"
        params:
            references=config["references"],
        message:
            "Fetching public tables into {params.references[folder]}"
        script:
            "../scripts/fetch_references.py"


rule build_map:
    input:
        alignment=rules.apply_alignment.output.manifest,
        genes=[path for path in config["genes"].values() if path],
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
        weights=config["maps"]["weights"],
        genes=config["genes"],
        scores=config["maps"]["replicates"],
        seed=config["maps"]["seed"],
    message:
        "Mapping {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/build_map.py"


rule score_replicates:
    input:
        alignment=rules.apply_alignment.output.manifest,
        manifest=rules.build_map.output.manifest,
        genes=[config["genes"][key] for key in MAP_GENES if config["genes"][key]],
        potencies=config["maps"]["compound_targets"] or [],
    output:
        replicates=report(
            f"{MAP}/replicates.csv",
            caption="../report/replicates.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Replicates, batches, perturbations"},
        ),
        proximity=report(
            f"{MAP}/proximity.csv",
            caption="../report/proximity.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Proximity bias"},
        ),
        compounds=report(
            f"{MAP}/compounds.csv",
            caption="../report/compounds.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Compounds and their genes"},
        ),
        manifest=f"{MAP}/replicates.json",
    log:
        f"{RESULTS}/logs/maps/{{model}}/{{alignment}}.replicates.log",
    benchmark:
        f"{RESULTS}/benchmarks/maps/{{model}}/{{alignment}}.replicates.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(120),
        in_turn=1,
    params:
        version=cellmae.maps.VERSION,
        aligned=rules.apply_alignment.output.wells,
        map=rules.build_map.output.map,
        treatments=rules.build_map.output.treatments,
        genes={key: config["genes"][key] for key in MAP_GENES},
        resampling=RESAMPLING,
    message:
        "Scoring the replicates of {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/score_replicates.py"


rule score_recall:
    input:
        manifest=rules.build_map.output.manifest,
        relationships=list(config["maps"]["relationships"].values()),
        genes=[config["genes"][key] for key in MAP_GENES if config["genes"][key]],
        truth=rules.simulate_truth.output.truth if SIMULATED else [],
    output:
        recall=report(
            f"{MAP}/recall.csv",
            caption="../report/recall.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Known relationships"},
        ),
        pairs=f"{MAP}/pairs.parquet",
        missing=f"{MAP}/unmatched.csv",
        manifest=f"{MAP}/recall.json",
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
        in_turn=1,
    params:
        version=cellmae.maps.VERSION,
        map=rules.build_map.output.map,
        sources=list(config["maps"]["relationships"]),
        genes={key: config["genes"][key] for key in MAP_GENES},
        thresholds=config["maps"]["thresholds"],
        resampling=RESAMPLING,
    message:
        "Scoring the recall of {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/score_recall.py"


rule score_sets:
    input:
        manifest=rules.build_map.output.manifest,
        relationships=list(config["maps"]["relationships"].values()),
        recall=rules.score_recall.output.manifest,
        genes=config["genes"]["aliases"] or [],
    output:
        sets=report(
            f"{MAP}/sets.csv",
            caption="../report/sets.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Sets"},
        ),
        enrichment=report(
            f"{MAP}/enrichment.csv",
            caption="../report/enrichment.rst",
            category="Maps",
            labels=MAP_LABELS | {"Table": "Enrichment"},
        ),
        counts=f"{MAP}/enrichment_counts.csv",
        manifest=f"{MAP}/sets.json",
    log:
        f"{RESULTS}/logs/maps/{{model}}/{{alignment}}.sets.log",
    benchmark:
        f"{RESULTS}/benchmarks/maps/{{model}}/{{alignment}}.sets.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(60),
        in_turn=1,
    params:
        version=cellmae.maps.VERSION,
        map=rules.build_map.output.map,
        pairs=rules.score_recall.output.pairs,
        sources=list(config["maps"]["relationships"]),
        aliases=config["genes"]["aliases"],
        thresholds=config["maps"]["thresholds"],
        enrichment=config["maps"]["enrichment"],
        seed=config["maps"]["seed"],
    message:
        "Scoring the sets on {wildcards.model}, aligned by {wildcards.alignment}"
    script:
        "../scripts/score_sets.py"


if SIMULATED:

    rule score_probe:
        input:
            alignment=rules.apply_alignment.output.manifest,
            truth=rules.simulate_truth.output.truth,
        output:
            score=report(
                f"{MAP}/probe.csv",
                caption="../report/probe.rst",
                category="Maps",
                labels=MAP_LABELS | {"Table": "True phenotypes"},
            ),
            errors=f"{MAP}/probe.parquet",
            manifest=f"{MAP}/probe.json",
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
        recalls=expand(
            rules.score_recall.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
        probes=(
            expand(
                rules.score_probe.output.manifest, model=MODELS, alignment=ALIGNMENTS
            )
            if SIMULATED
            else []
        ),
    output:
        comparison=report(
            f"{RESULTS}/maps/comparison.csv",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"Table": "Models in pairs"},
        ),
        manifest=f"{RESULTS}/maps/comparison.json",
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


if config["study"]:

    rule scale_models:
        input:
            maps=expand(
                rules.build_map.output.manifest, model=MODELS, alignment=ALIGNMENTS
            ),
            recalls=expand(
                rules.score_recall.output.manifest, model=MODELS, alignment=ALIGNMENTS
            ),
            probes=(
                expand(
                    rules.score_probe.output.manifest,
                    model=MODELS,
                    alignment=ALIGNMENTS,
                )
                if SIMULATED
                else []
            ),
        output:
            points=report(
                f"{RESULTS}/maps/scaling.csv",
                caption="../report/scaling.rst",
                category="Comparison",
                labels={"Table": "Training compute"},
            ),
            trends=f"{RESULTS}/maps/scaling_trends.csv",
            bands=f"{RESULTS}/maps/scaling_bands.csv",
            gains=f"{RESULTS}/maps/scaling_gains.csv",
            manifest=f"{RESULTS}/maps/scaling.json",
        log:
            f"{RESULTS}/logs/maps/scaling.log",
        benchmark:
            f"{RESULTS}/benchmarks/maps/scaling.tsv"
        conda:
            "../../envs/maps.yaml"
        threads: ALL_PLATES["threads"]
        resources:
            mem_mb=growing(ALL_PLATES["mem_mb"]),
            runtime=growing(60),
        params:
            version=cellmae.maps.VERSION,
            models=f"{RESULTS}/models",
            study=config["study"],
            thresholds=config["maps"]["thresholds"],
            resampling=RESAMPLING,
        message:
            "Relating scores to training compute"
        script:
            "../scripts/scale_models.py"


rule maps:
    input:
        rules.compare_models.output.manifest,
        expand(
            rules.score_replicates.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
        rules.scale_models.output.manifest if config["study"] else [],
        expand(rules.score_sets.output.manifest, model=MODELS, alignment=ALIGNMENTS),
    localrule: True
