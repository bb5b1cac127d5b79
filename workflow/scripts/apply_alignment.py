from cellmae.alignment import align_plates
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        align_plates(
            snakemake.params.embeddings,
            snakemake.input.wells,
            fit=snakemake.params.fit,
            output=snakemake.output.wells,
            manifest=snakemake.output.manifest,
        )
