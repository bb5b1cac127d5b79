from cellmae.files import vouch_for
from cellmae.logging import job_log
from cellmae.maps import score_enrichment, score_sets

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        relationships = dict(zip(snakemake.params.sources, snakemake.input.relationships, strict=True))
        options = {"seed": snakemake.params.seed, "aliases": snakemake.params.aliases}
        score_sets(
            snakemake.params.map,
            relationships,
            pairs=snakemake.params.pairs,
            output=snakemake.output.sets,
            thresholds=snakemake.params.thresholds,
            **options,
        )
        score_enrichment(
            snakemake.params.map,
            relationships,
            output=snakemake.output.enrichment,
            counts=snakemake.output.counts,
            **options,
            **snakemake.params.enrichment,
        )
        vouch_for(snakemake.output, stage="maps", version=snakemake.params.version)
