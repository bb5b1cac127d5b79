# Fields -> a store of 8-bit fields, a grid of tiles and their quality.

import cellmae.tiles


rule tile_plate:
    input:
        fields=rules.index_fields.output.fields,
    output:
        table=f"{RESULTS}/tiles/{{plate}}.parquet",
        manifest=f"{RESULTS}/tiles/{{plate}}.json",
    log:
        f"{RESULTS}/logs/tiles/{{plate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tiles/{{plate}}.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, threads, attempt: attempt * (1000 + 250 * threads),
        runtime=tiling_minutes,
        in_turn=1,
        dask_scheduler=config["dask"]["scheduler"],  # no parameter: who does the work changes no result
    params:
        version=cellmae.tiles.VERSION,
        root=ROOT,
        channels=CHANNELS,
        z=Z_PLANE,
        tiles=TILING,
    message:
        "Tiling {wildcards.plate}"
    script:
        "../scripts/tile_plate.py"


use rule tile_plate as restore_plate with:
    input:
        fields=rules.index_fields.output.fields,
        manifest=rules.tile_plate.output.manifest,
    output:
        restored=f"{RESULTS}/tiles/{{plate}}.restored",
    log:
        f"{RESULTS}/logs/tiles/{{plate}}.restored.log",
    benchmark:
        f"{RESULTS}/benchmarks/tiles/{{plate}}.restored.tsv"
    message:
        "Tiling {wildcards.plate} again"


rule restore_tiles:
    input:
        expand(rules.restore_plate.output.restored, plate=PLATES if IMAGED else []),
    localrule: True


rule tiles:
    input:
        expand(rules.tile_plate.output.manifest, plate=PLATES if IMAGED else []),
    localrule: True
