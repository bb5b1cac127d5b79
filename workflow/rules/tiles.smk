# Fields -> a store of 8-bit fields, a grid of tiles and their quality.

import cellmae.tiles


rule tile_plate:
    input:
        fields=rules.index_fields.output.fields,
        # First said what the run will cost, then spent it; what other plates add to that changes nothing here.
        summary=ancient(rules.summarise_screen.output.json),
    output:
        table=f"{RESULTS}/tiles/{{plate}}.parquet",
        manifest=f"{RESULTS}/tiles/{{plate}}.json",
        # Stands for the store: no output itself, as Snakemake would put a file of its own into the folder.
        stored=f"{RESULTS}/tiles/{{plate}}.stored",
    log:
        f"{RESULTS}/logs/tiles/{{plate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tiles/{{plate}}.tsv"
    conda:
        "../../envs/maps.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, threads: 1000 + 250 * threads,
        runtime=120,
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


rule tiles:
    input:
        expand(rules.tile_plate.output.manifest, plate=PLATES if IMAGED else []),
    localrule: True
