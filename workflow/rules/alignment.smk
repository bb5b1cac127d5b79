# PCA, typical variation normalisation: wells comparable across batches.

import cellmae.alignment


rule fit_alignment:
    input:
        embeddings=fit_files(rules.embed_plate.output.manifest),
        wells=fit_files(rules.index_wells.output.wells),
        genes=gene_tables,
    output:
        fit=f"{RESULTS}/alignment/{{model}}/{{alignment}}.fit.h5",
        manifest=f"{RESULTS}/alignment/{{model}}/{{alignment}}.fit.json",
    log:
        f"{RESULTS}/logs/alignment/{{model}}/{{alignment}}.fit.log",
    benchmark:
        f"{RESULTS}/benchmarks/alignment/{{model}}/{{alignment}}.fit.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(120),
    params:
        version=cellmae.alignment.VERSION,
        alignment=lambda wildcards: without_plates(ALIGNMENTS[wildcards.alignment]),
        genes=lambda wildcards: config["genes"] if gene_tables(wildcards) else {},
    message:
        "Fitting the alignment {wildcards.alignment} on {wildcards.model}"
    script:
        "../scripts/fit_alignment.py"


rule apply_alignment:
    input:
        fit=rules.fit_alignment.output.manifest,
        embeddings=expand(
            rules.embed_plate.output.manifest, plate=PLATES, allow_missing=True
        ),
        wells=expand(rules.index_wells.output.wells, plate=PLATES),
        genes=gene_tables,
    output:
        wells=f"{RESULTS}/alignment/{{model}}/{{alignment}}.h5ad",
        manifest=f"{RESULTS}/alignment/{{model}}/{{alignment}}.json",
    log:
        f"{RESULTS}/logs/alignment/{{model}}/{{alignment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/alignment/{{model}}/{{alignment}}.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(120),
    params:
        version=cellmae.alignment.VERSION,
        fit=rules.fit_alignment.output.fit,
        aliases=lambda wildcards: (
            config["genes"]["aliases"] if gene_tables(wildcards) else None
        ),
    message:
        "Aligning {wildcards.model} by {wildcards.alignment}"
    script:
        "../scripts/apply_alignment.py"


rule alignment:
    input:
        expand(
            rules.apply_alignment.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
    localrule: True
