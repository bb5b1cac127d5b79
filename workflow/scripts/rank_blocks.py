from pathlib import Path

from cellmae.embeddings import rank_blocks
from cellmae.files import write_manifest
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        rank_blocks(
            Path(snakemake.input.model).parent,
            tiles=snakemake.input.tiles,
            wells=snakemake.input.wells,
            output=snakemake.output.blocks,
            threads=snakemake.threads,
        )
        write_manifest(
            snakemake.output.manifest,
            stage="embeddings",
            version=snakemake.params.version,
            files=snakemake.output[:-1],
        )
