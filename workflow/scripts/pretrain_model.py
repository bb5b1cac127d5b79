from pathlib import Path

from cellmae.fitted import remember_plates
from cellmae.logging import job_log
from cellmae.pretraining import pretrain

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        folder = Path(snakemake.output.record).parent
        manifests = [Path(manifest) for manifest in snakemake.input.manifests]
        remember_plates(folder / "plates.json", [manifest.stem for manifest in manifests])
        pretrain(
            snakemake.params.spec,
            stores=[manifest.with_suffix(".zarr") for manifest in manifests],
            tables=snakemake.input.tables,
            manifests=manifests,
            channels=snakemake.params.channels,
            crop_size=snakemake.params.crop_size,
            folder=folder,
            threads=snakemake.threads,
        )
