from pathlib import Path

from cellmae.logging import job_log
from cellmae.screen.simulation import simulate_plate

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        simulate_plate(
            snakemake.params.simulation,
            root=Path(snakemake.output.manifest).parent,
            experiment=snakemake.params.experiment,
            plate=snakemake.params.plate,
            manifest=snakemake.output.manifest,
        )
