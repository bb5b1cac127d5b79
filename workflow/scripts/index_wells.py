from pathlib import Path

from cellmae.logging import job_log
from cellmae.screen import index_wells, write_table

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        # The whole section, of which `params` track the part that the table depends on.
        screen = snakemake.config["screen"]
        wells = index_wells(screen, snakemake.wildcards.plate, cache=snakemake.params.cache)
        schema = Path(snakemake.scriptdir) / "../schemas/wells.schema.yaml"
        write_table(snakemake.output.wells, wells, schema=schema)
