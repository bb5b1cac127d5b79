from pathlib import Path

from cellmae.locations import location
from cellmae.logging import job_log
from cellmae.screen import read_fields
from cellmae.tiles import tile_plate

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        manifest = Path(snakemake.output.manifest)
        tile_plate(
            read_fields(snakemake.input.fields),
            root=location(snakemake.params.root, key="screen.root"),
            channels=snakemake.params.channels,
            z=snakemake.params.z,
            store=manifest.with_suffix(".zarr"),
            table=snakemake.output.table,
            manifest=manifest,
            threads=snakemake.threads,
            **snakemake.params.tiles,
        )
        Path(snakemake.output.stored).write_text("The store of this name is there; whoever deletes it deletes this.\n")
