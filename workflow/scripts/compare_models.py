from pathlib import Path

from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import compare_models

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        compare_models(
            [Path(manifest).parent for manifest in snakemake.input.maps],
            output=snakemake.output.comparison,
            thresholds=snakemake.params.thresholds,
            **snakemake.params.resampling,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
