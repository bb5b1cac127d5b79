from pathlib import Path

from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import scale_models

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        scale_models(
            [Path(manifest).parent for manifest in snakemake.input.maps],
            models=snakemake.params.models,
            study=snakemake.params.study,
            points=snakemake.output.points,
            trends=snakemake.output.trends,
            bands=snakemake.output.bands,
            gains=snakemake.output.gains,
            thresholds=snakemake.params.thresholds,
            **snakemake.params.resampling,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
