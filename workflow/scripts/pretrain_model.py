from pathlib import Path

from cellmae.fitted import remember_plates
from cellmae.logging import job_log
from cellmae.pretraining import pretrain

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        params = snakemake.params
        folder = Path(snakemake.output.record).parent
        remember_plates(folder / "plates.json", params.plates)
        pretrain(
            params.spec,
            stores=params.stores,
            tables=snakemake.input.tables,
            manifests=snakemake.input.manifests,
            channels=params.channels,
            crop_size=params.crop_size,
            folder=folder,
            threads=snakemake.threads,
        )
