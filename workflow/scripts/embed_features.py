from cellmae.embeddings import embed_features
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        embed_features(
            table=snakemake.input.table,
            plate=snakemake.params.plate,
            columns=snakemake.params.columns,
            features=snakemake.params.features,
            model=snakemake.wildcards.model,
            output=snakemake.output.wells,
            manifest=snakemake.output.manifest,
        )
