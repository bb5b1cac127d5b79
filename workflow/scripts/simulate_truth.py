from pathlib import Path

from cellmae.logging import job_log
from cellmae.screen.simulation import write_truth

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        write_truth(snakemake.params.simulation, root=Path(snakemake.output.truth).parent)
