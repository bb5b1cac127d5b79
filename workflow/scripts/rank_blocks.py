from pathlib import Path

from cellmae.embeddings import rank_blocks
from cellmae.files import vouch_for
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
        vouch_for(snakemake.output, stage="embeddings", version=snakemake.params.version)
