# Results that are single files, copied into object storage. Stores and checkpoints stay on the file system that jobs share.

PUBLISHED = [
    *expand(
        ["alignment/{model}/{alignment}.h5ad", "maps/{model}/{alignment}/{file}"],
        model=MODELS,
        alignment=ALIGNMENTS,
        file=["map.h5ad", "treatments.h5ad", "recall.csv"],
    ),
    "maps/comparison.csv",
    "report/index.html",
]


rule publish_file:
    input:
        f"{RESULTS}/{{file}}",
    output:
        storage(f"{config['publish']}/{{file}}"),
    log:
        f"{RESULTS}/logs/publish/{{file}}.log",
    wildcard_constraints:
        file=any_of(PUBLISHED),
    localrule: True
    conda:
        "../../envs/maps.yaml"
    message:
        "Publishing {wildcards.file}"
    script:
        "../scripts/publish_file.py"


rule publish:
    input:
        [storage(f"{config['publish']}/{file}") for file in PUBLISHED],
    localrule: True
