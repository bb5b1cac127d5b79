from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import score_recall

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        score_recall(
            snakemake.params.map,
            dict(zip(snakemake.params.sources, snakemake.input.relationships, strict=True)),
            output=snakemake.output.recall,
            pairs=snakemake.output.pairs,
            missing=snakemake.output.missing,
            thresholds=snakemake.params.thresholds,
            truth=snakemake.input.truth or None,
            **snakemake.params.genes,
            **snakemake.params.resampling,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
