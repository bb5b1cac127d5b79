# Figures, the comparison of models, one page to read.

import cellmae.report


rule write_report:
    input:
        summary=rules.summarise_screen.output.json,
        wells=expand(rules.index_wells.output.wells, plate=PLATES),
        tiles=expand(rules.tile_plate.output.manifest, plate=PLATES if IMAGED else []),
        models=expand(f"{RESULTS}/models/{{model}}/model.yaml", model=IMAGED),
        histories=expand(rules.pretrain_model.output.history, model=TRAINED),
        blocks=expand(rules.rank_blocks.output.manifest, model=RANKED),
        alignments=expand(
            rules.apply_alignment.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
        recalls=expand(
            rules.score_recall.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
        sets=expand(
            rules.score_sets.output.manifest, model=MODELS, alignment=ALIGNMENTS
        ),
        probes=(
            expand(
                rules.score_probe.output.manifest, model=MODELS, alignment=ALIGNMENTS
            )
            if SIMULATED
            else []
        ),
        replicates=expand(
            rules.score_replicates.output.manifest,
            model=MODELS,
            alignment=ALIGNMENTS,
        ),
        comparison=rules.compare_models.output.manifest,
        scaling=rules.scale_models.output.manifest if config["study"] else [],
        genes=config["genes"]["aliases"] or [],
        retired=RETIRED,
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/page.rst",
            category="Report",
            labels={"Page": "Report of the run"},
        ),
    log:
        f"{RESULTS}/logs/report/page.log",
    benchmark:
        f"{RESULTS}/benchmarks/report/page.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: ALL_PLATES["threads"]
    resources:
        mem_mb=growing(ALL_PLATES["mem_mb"]),
        runtime=growing(60),
    params:
        version=cellmae.report.VERSION,
        config={
            key: config[key]
            for key in config
            if key not in ("dask", "partial", "publish")
        },
        models=MODELS,
        unfinished=UNFINISHED,
        plates=list(PLATES),
        images=bool(IMAGED),
        truth=SIMULATED,
        ranked=RANKED,
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"


rule report:
    input:
        rules.write_report.output.page,
    localrule: True
