from pathlib import Path

from cellmae.logging import job_log
from cellmae.models import build_baseline

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        build_baseline(
            snakemake.params.spec,
            channels=snakemake.params.channels,
            crop_size=snakemake.params.crop_size,
            folder=Path(snakemake.output.record).parent,
        )
