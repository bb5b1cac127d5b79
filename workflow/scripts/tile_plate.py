from pathlib import Path

from cellmae.locations import location
from cellmae.logging import job_log
from cellmae.screen import read_fields
from cellmae.tiles import restore_store, tile_plate

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        fields = read_fields(snakemake.input.fields)
        arguments = {
            "root": location(snakemake.params.root, key="screen.root"),
            "channels": snakemake.params.channels,
            "z": snakemake.params.z,
            "threads": snakemake.threads,
            "scheduler": snakemake.resources.dask_scheduler,
            **snakemake.params.tiles,
        }
        if snakemake.rule == "restore_plate":
            restore_store(fields, manifest=snakemake.input.manifest, **arguments)
            Path(snakemake.output.restored).touch()
        else:
            # The store is no output: Snakemake would put a file of its own into the folder.
            manifest = Path(snakemake.output.manifest)
            store = manifest.with_suffix(".zarr")
            tile_plate(fields, store=store, table=snakemake.output.table, manifest=manifest, **arguments)
