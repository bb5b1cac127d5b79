from itertools import compress
from pathlib import Path

from cellmae.alignment import fit_plates
from cellmae.fitted import embedded_alike, remember_plates
from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        manifests, fit = snakemake.input.embeddings, Path(snakemake.output.manifest)
        record = fit.with_name(f"{snakemake.wildcards.alignment}.plates.json")
        remember_plates(record, [Path(manifest).stem for manifest in manifests])
        alike = embedded_alike(manifests)
        options = dict(snakemake.params.alignment)
        limits = options.pop("filter")
        fit_plates(
            [Path(manifest).with_suffix(".h5ad") for manifest in compress(manifests, alike)],
            list(compress(snakemake.input.wells, alike)),
            fit=snakemake.output.fit,
            manifest=fit,
            limits=limits,
            genes=snakemake.params.genes,
            **options,
        )
