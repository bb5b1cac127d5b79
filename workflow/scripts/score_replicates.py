from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import score_replicates

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        score_replicates(
            snakemake.params.aligned,
            snakemake.params.map,
            snakemake.params.treatments,
            output=snakemake.output.replicates,
            proximity=snakemake.output.proximity,
            compounds=snakemake.output.compounds,
            potencies=snakemake.input.potencies or None,
            **snakemake.params.genes,
            **snakemake.params.resampling,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
