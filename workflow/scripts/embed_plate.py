from pathlib import Path

from cellmae.embeddings import embed_plate
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        embed_plate(
            store=Path(snakemake.input.tiles).with_suffix(".zarr"),
            table=snakemake.input.table,
            model=Path(snakemake.input.model).parent,
            output=snakemake.output.wells,
            manifest=snakemake.output.manifest,
            threads=snakemake.threads,
            batch_plates=snakemake.input.batch,
        )
