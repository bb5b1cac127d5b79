from cellmae.logging import job_log
from cellmae.maps import build_map

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        build_map(
            snakemake.params.aligned,
            model=snakemake.wildcards.model,
            alignment=snakemake.wildcards.alignment,
            treatments=snakemake.output.treatments,
            output=snakemake.output.map,
            manifest=snakemake.output.manifest,
            how=snakemake.params.aggregate,
            weights=snakemake.params.weights,
            **snakemake.params.genes,
            scores=snakemake.params.scores,
            seed=snakemake.params.seed,
        )
