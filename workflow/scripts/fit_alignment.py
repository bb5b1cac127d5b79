from cellmae.alignment import fit_plates
from cellmae.fitted import remember_plates
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        remember_plates(snakemake.params.record, snakemake.params.plates)
        fit_plates(
            snakemake.params.embeddings,
            snakemake.input.wells,
            fit=snakemake.output.fit,
            manifest=snakemake.output.manifest,
            **snakemake.params.alignment,
        )
