from cellmae.logging import job_log
from cellmae.screen import read_fields
from cellmae.tiles import tile_plate

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        tile_plate(
            read_fields(snakemake.input.fields),
            root=snakemake.params.root,
            channels=snakemake.params.channels,
            store=snakemake.params.store,
            table=snakemake.output.table,
            manifest=snakemake.output.manifest,
            threads=snakemake.threads,
            **snakemake.params.tiles,
        )
