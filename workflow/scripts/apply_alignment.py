from pathlib import Path

from cellmae.alignment import align_plates
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        align_plates(
            [Path(manifest).with_suffix(".h5ad") for manifest in snakemake.input.embeddings],
            snakemake.input.wells,
            fit=snakemake.params.fit,
            aliases=snakemake.params.aliases,
            output=snakemake.output.wells,
            manifest=snakemake.output.manifest,
        )
