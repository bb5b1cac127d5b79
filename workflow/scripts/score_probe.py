from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import score_probe

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        score_probe(
            snakemake.params.aligned,
            snakemake.input.truth,
            output=snakemake.output.score,
            genes=snakemake.output.errors,
            **snakemake.params.resampling,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
